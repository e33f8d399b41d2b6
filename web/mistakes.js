// Which digits the network takes for which, and the worst mistakes.

import { byId, counted, make, short } from "./dom.js";
import { SIDE } from "./centring.js";
import { PixelMap } from "./maps.js";

const SHOWN = 24;
const SIZE = SIDE * SIDE;

export class Mistakes {
  // `onPick(image, label)`: someone wants to see a mistake.
  constructor(onPick) {
    this.onPick = onPick;
  }

  hide() {
    byId("mistakes").hidden = true;
  }

  // test: what training.js's test returned for the images and labels. names: of the classes.
  show(test, images, labels, names) {
    Object.assign(this, { test, images, labels, names });
    const wrong = labels.length - Math.round(test.accuracy * labels.length);
    byId("mistakes").hidden = false;
    byId("mistakes-lead").textContent =
      `The network has not learned from these ${labels.length.toLocaleString("en")} test pictures. ` +
      `It reads ${(test.accuracy * 100).toFixed(1)}% of them correctly and gets ${wrong.toLocaleString("en")} wrong.`;
    this.showMatrix();
    this.showWorst(() => true, "The worst");
  }

  showMatrix() {
    const nodes = this.names.length;
    const counts = new Uint32Array(nodes * nodes);
    this.labels.forEach((label, i) => counts[label * nodes + this.test.predictions[i]]++);
    const most = counts.reduce((best, count, i) => (i % (nodes + 1) === 0 ? best : Math.max(best, count)), 1);
    const head = make("tr", {}, make("td", {}), ...this.names.map((name) => make("th", { scope: "col" }, short(name))));
    const rows = this.names.map((name, label) => {
      const cells = this.names.map((_, answer) => this.cell(counts[label * nodes + answer], label, answer, most));
      return make("tr", {}, make("th", { scope: "row" }, short(name)), ...cells);
    });
    byId("matrix").replaceChildren(
      make("caption", {}, "Rows: what it is. Columns: what the network says. Choose a number to see those pictures."),
      make("thead", {}, head),
      make("tbody", {}, ...rows),
    );
  }

  cell(count, label, answer, most) {
    if (label === answer) return make("td", { class: "right" }, String(count));
    if (count === 0) return make("td", {}, "");
    const [is, said] = [this.names[label], this.names[answer]];
    const pick = () => this.showWorst((i) => this.labels[i] === label && this.test.predictions[i] === answer, `${is}, read as ${said}`);
    const button = make("button", { type: "button", click: pick, "aria-label": `${is}, read as ${said}: ${counted(count, "time")}` }, String(count));
    return make("td", { style: `--share: ${Math.sqrt(count / most)}` }, button);
  }

  // Shows the mistakes with the largest losses among those that are wanted.
  showWorst(isWanted, title) {
    const { predictions, losses } = this.test;
    const wrong = Array.from(this.labels.keys()).filter((i) => predictions[i] !== this.labels[i] && isWanted(i));
    wrong.sort((a, b) => losses[b] - losses[a]);
    byId("worst-title").textContent = title;
    byId("worst").replaceChildren(...wrong.slice(0, SHOWN).map((i) => this.picture(i)));
    if (wrong.length === 0) byId("worst").textContent = "None.";
  }

  picture(i) {
    const image = this.images.slice(i * SIZE, (i + 1) * SIZE);
    const [is, said] = [this.names[this.labels[i]], this.names[this.test.predictions[i]]];
    const map = new PixelMap({ height: SIDE, width: SIDE, label: "" });
    map.drawInk(image);
    const pick = () => this.onPick(image, this.labels[i]);
    const caption = make("span", {}, `${is}, not ${said}`);
    return make("button", { type: "button", click: pick, "aria-label": `A ${is} that is read as ${said}. Show it on the pad.` }, map.element, caption);
  }
}
