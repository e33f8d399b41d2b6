// Shows how one number was computed: a title, the numbers, and the article's formula.

import { signedColours } from "./colours.js";
import { make, percent, plain, signed } from "./dom.js";
import { PixelMap, largest } from "./maps.js";

// A small table of numbers on their colours.
export function numbers(values, columns, { scale = largest(values), label, marked = () => false }) {
  const colours = signedColours();
  const cells = Array.from(values, (value, i) => {
    const style = `background: ${colours.css(colours.index(value, scale))}; color: ${colours.textOn(value, scale)}`;
    return make("span", { style, class: marked(value, i) ? "marked" : null }, plain(value));
  });
  const grid = make("div", { class: "numbers", style: `--columns: ${columns}`, role: "img", "aria-label": label }, ...cells);
  return make("figure", {}, grid, make("figcaption", {}, label));
}

const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);

// The article's formula; `html` is a constant of this file.
function formula(html) {
  const element = make("p", { class: "formula" });
  element.innerHTML = html;
  return element;
}

const result = (...text) => make("p", { class: "result" }, ...text);

const place = ({ row, column }) => `row ${row + 1}, column ${column + 1}`;

export function pixelView(chosen, level) {
  const value = level / 255 - 0.5;
  return {
    title: `Picture, ${place(chosen)}`,
    spoken: `${level} of 255 ink`,
    parts: [
      make("p", {}, `This pixel has ${level} of 255 parts of ink. The network gets it as a number from −0.5 for paper to +0.5 for ink.`),
      formula("input = ink / 255 − 0.5"),
      result(`${level} / 255 − 0.5 = `, make("strong", {}, signed(value))),
    ],
  };
}

export function filterView({ channel }, filter, name) {
  return {
    title: `${name}, filter ${channel + 1}`,
    spoken: filter.map((it) => plain(it)).join(", "),
    parts: [
      numbers(filter, 3, { label: "the filter’s weights" }),
      make("p", {}, "The filter moves over the picture. Where the ink lies on its blue weights and the paper on its orange ones, the result is large. Training changes these numbers."),
    ],
  };
}

const CONVOLUTION = "out(<i>i</i>, <i>j</i>) = <span class='sum'>Σ<sub>x, y = 0, 1, 2</sub></span> image(<i>i</i> + <i>x</i>, <i>j</i> + <i>y</i>) · filter(<i>x</i>, <i>y</i>)";

const DEEP_CONVOLUTION = "out(<i>i</i>, <i>j</i>) = <span class='sum'>Σ<sub>c</sub> Σ<sub>x, y</sub></span> input(<i>i</i> + <i>x</i>, <i>j</i> + <i>y</i>, <i>c</i>) · filter(<i>x</i>, <i>y</i>, <i>c</i>) + bias";

export function convolutionView(chosen, { parts, strongest, bias, total }, name) {
  const many = parts.length > 1;
  const of = many ? `, map ${strongest.from + 1}` : "";
  const rest = bias === null ? [] : [` and the bias ${signed(bias)}`];
  const channels = numbers(parts.map((part) => part.sum), 8, { label: `the sums of all ${parts.length} maps`, marked: (_, i) => i === strongest.from });
  return {
    title: `${name}, map ${chosen.channel + 1}, ${place(chosen)}`,
    spoken: `The sum is ${plain(total)}`,
    parts: [
      make(
        "div",
        { class: "products" },
        numbers(strongest.window, 3, { label: `window${of}` }),
        sign("×"),
        numbers(strongest.filter, 3, { label: "filter" }),
        sign("="),
        numbers(strongest.products, 3, { label: "products" }),
      ),
      ...(many ? [channels] : []),
      formula(many ? DEEP_CONVOLUTION : CONVOLUTION),
      result(many ? `The sum of ${parts.length} × 9 products` : "The sum of the nine products", ...rest, " is ", make("strong", {}, signed(total))),
    ],
  };
}

export function poolingView(chosen, { values, largest: most }, name) {
  return {
    title: `${name}, map ${chosen.channel + 1}, ${place(chosen)}`,
    spoken: `The largest of four is ${plain(most)}`,
    parts: [
      numbers(values, 2, { label: "four values of the layer before", marked: (value) => value === most }),
      formula("out(<i>i</i>, <i>j</i>) = max of input(2<i>i</i>, 2<i>j</i>) … input(2<i>i</i> + 1, 2<i>j</i> + 1)"),
      result("The largest of them is ", make("strong", {}, signed(most))),
    ],
  };
}

export function reluView(chosen, before, after, name) {
  return {
    title: `${name}, map ${chosen.channel + 1}, ${place(chosen)}`,
    spoken: `From ${plain(before)} to ${plain(after)}`,
    parts: [
      make("p", {}, "A number below zero becomes zero. Other numbers stay as they are."),
      formula("out = max(0, input)"),
      result(`max(0, ${plain(before)}) = `, make("strong", {}, signed(after))),
    ],
  };
}

export function otherView(chosen, value, name) {
  return {
    title: `${name}, map ${chosen.channel + 1}, ${place(chosen)}`,
    spoken: plain(value),
    parts: [result("The value is ", make("strong", {}, signed(value)))],
  };
}

// A picture of what spoke for an output: {height, width, values}.
export function evidenceMap({ height, width, values }, name) {
  const all = values.reduce((sum, it) => sum + it);
  const map = new PixelMap({ height, width, label: `What spoke for ${name}, and what against it: ${signed(all)} in all` });
  map.drawSigned(values, largest(values));
  return map;
}

export function outputView({ output }, { totals, probabilities, evidence, names }) {
  const average = totals.reduce((sum, it) => sum + it) / totals.length;
  return {
    title: `What spoke for ${names[output]}`,
    spoken: `Its total is ${plain(totals[output])}, its probability ${percent(probabilities[output])}`,
    parts: [
      make("figure", { class: "evidence" }, evidenceMap(evidence, names[output]).element, make("figcaption", {}, "Each pixel adds up the products of its values and weights. Blue spoke for this answer more than for the others, orange against it.")),
      formula("<i>t<sub>k</sub></i> = <span class='sum'>Σ<sub>i</sub></span> input(<i>i</i>) · weight(<i>i</i>, <i>k</i>) + bias(<i>k</i>) &emsp; <i>p<sub>k</sub></i> = e<sup><i>t<sub>k</sub></i></sup> / <span class='sum'>Σ<sub>j</sub></span> e<sup><i>t<sub>j</sub></i></sup>"),
      result("The total is ", make("strong", {}, signed(totals[output])), `; the ten totals are ${signed(average)} on average. The probability is `, make("strong", {}, `${(probabilities[output] * 100).toFixed(1)}%`)),
    ],
  };
}
