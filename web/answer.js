// The network's answer: a digit, a sentence, ten bars, and ten buttons to correct it.

import { byId, make, percent, short } from "./dom.js";

const DIGITS = Array.from({ length: 10 }, (_, digit) => String(digit));

export class Answer {
  // `onPoint(output)`: someone points at an output, or at none of them any more (null). `onMeant(digit)`: someone says what the picture is.
  constructor({ onPoint, onMeant }) {
    this.names = DIGITS;
    this.bars = DIGITS.map((_, output) => {
      const point = () => onPoint(output);
      const leave = () => onPoint(null);
      const fill = make("span", { class: "fill" });
      const share = make("span", { class: "share" });
      const bar = make("button", { type: "button", class: "bar", click: point, pointerenter: point, focus: point, pointerleave: leave, blur: leave }, share, fill);
      byId("outputs").append(bar);
      return { bar, fill, share };
    });
    this.buttons = DIGITS.map((name, digit) => {
      const button = make("button", { type: "button", click: () => onMeant(digit) }, name);
      byId("meant").append(button);
      return button;
    });
    this.nameOutputs(DIGITS);
  }

  // Names the classes: digits, or clothes.
  nameOutputs(names) {
    this.names = names;
    this.buttons.forEach((button, digit) => {
      button.replaceChildren(short(names[digit]));
      button.setAttribute("aria-label", `I meant ${names[digit]}`);
    });
  }

  // probabilities: Float32Array(10), or null without a picture. isTrained: whether the network has learned anything.
  show(probabilities, isTrained) {
    const best = probabilities === null ? -1 : probabilities.indexOf(Math.max(...probabilities));
    this.bars.forEach(({ bar, fill, share }, output) => {
      const value = probabilities === null ? 0 : probabilities[output];
      fill.style.transform = `scaleY(${value})`;
      share.textContent = value >= 0.005 ? percent(value) : "";
      share.style.bottom = `${value * 100}%`;
      bar.classList.toggle("best", output === best);
      bar.setAttribute("aria-label", `${this.names[output]}: ${percent(value)}. Show what spoke for it.`);
    });
    this.buttons.forEach((button) => (button.disabled = probabilities === null));
    byId("answer").replaceChildren(best < 0 ? "?" : short(this.names[best]));
    byId("verdict").textContent = this.sentence(probabilities, best, isTrained);
    return best;
  }

  sentence(probabilities, best, isTrained) {
    if (best < 0) return "The pad is empty.";
    const sure = percent(probabilities[best], "more than ", "less than ");
    const name = `${/^[8AEIOU]/.test(this.names[best]) ? "an" : "a"} ${this.names[best]}`;
    if (!isTrained) return `A guess: ${name}, ${sure} sure. It has learned nothing yet.`;
    return probabilities[best] > 0.5 ? `It reads ${name} and is ${sure} sure.` : `Perhaps ${name}, but it is only ${sure} sure.`;
  }

  // Says the answer to a screen reader.
  speak() {
    byId("spoken").textContent = byId("verdict").textContent;
  }
}

export { DIGITS };
