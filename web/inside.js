// Every layer's numbers for the picture on the pad. Whoever points at one of them sees how it was computed.

import { DIGITS } from "./answer.js";
import { byId, make, percent, short, signed } from "./dom.js";
import * as explain from "./explain.js";
import * as views from "./inspector.js";
import { PixelMap, largest } from "./maps.js";

const MOST_COLUMNS = 8;
const NAMES = { conv3x3: "Conv3x3", maxpool2: "MaxPool2", relu: "ReLU", softmax: "Softmax" };

const nameOf = (layer) => NAMES[explain.kindOf(layer)] ?? layer.name;

// The value of the first layer that is farthest from what the layer makes of paper, that is, from its map's corner.
function farthestFromPaper(values, shape) {
  const channels = explain.channelsOf(shape);
  const distance = (i) => Math.abs(values[i] - values[i % channels]);
  const at = values.reduce((best, _, i) => (distance(i) > distance(best) ? i : best), 0);
  const place = Math.floor(at / channels);
  return { kind: "value", layer: 0, row: Math.floor(place / shape[1]), column: place % shape[1], channel: at % channels };
}

export class Inside {
  constructor() {
    this.net = this.picture = this.chosen = null;
    this.names = DIGITS;
  }

  // Makes the rows for a network.
  build(net) {
    this.net = net;
    this.chosen = null;
    const [height, width] = net.imageShape;
    const choose = (chosen) => this.choose(chosen);
    this.input = new PixelMap({ height, width, label: "The picture", onChoose: (row, column) => choose({ kind: "pixel", row, column }) });
    this.rows = net.layers.slice(0, -1).map((layer, position) => this.layerRow(layer, position));
    const parts = [row("Picture", `${height}×${width} pixels`, [this.input.element], "picture")];
    this.rows.forEach(({ layer, filters, maps }) => {
      const name = nameOf(layer);
      if (filters.length > 0) parts.push(row(`${filters.length} filters`, "3×3 weights each", elements(filters), "filters"));
      parts.push(row(name, layer.shape.join("×"), elements(maps)));
    });
    parts.push(row("Softmax", `${net.nodes} totals, ${net.nodes} probabilities`, [this.outputRow()], "outputs"));
    byId("layers").replaceChildren(...parts);
    byId("inspector").replaceChildren();
  }

  layerRow(layer, position) {
    const [height, width] = layer.shape.length === 3 ? layer.shape : [1, layer.shape[0]];
    const name = nameOf(layer);
    const maps = Array.from({ length: explain.channelsOf(layer.shape) }, (_, channel) => {
      const onChoose = (row, column) => this.choose({ kind: "value", layer: position, row, column, channel });
      return new PixelMap({ height, width, label: `${name}, map ${channel + 1}`, onChoose });
    });
    return { layer, maps, filters: this.filterMaps(layer, position) };
  }

  // A filter over several maps is drawn as a mosaic of 3x3 weights.
  filterMaps(layer, position) {
    const shape = layer.parameters?.filters?.shape;
    if (shape === undefined) return [];
    const channels = shape[3] ?? 1;
    const tiles = Math.ceil(Math.sqrt(channels));
    return Array.from({ length: shape[0] }, (_, channel) => {
      const onChoose = (row, column) => {
        const tile = Math.min(Math.floor(row / 3) * tiles + Math.floor(column / 3), channels - 1);
        this.choose({ kind: "filter", layer: position, channel, tile });
      };
      const label = `${nameOf(layer)}, filter ${channel + 1}`;
      return Object.assign(new PixelMap({ height: 3 * tiles, width: 3 * tiles, label, onChoose, step: 3 }), { tiles, channels });
    });
  }

  outputRow() {
    this.outputs = Array.from({ length: this.net.nodes }, (_, output) => {
      const point = () => this.choose({ kind: "output", output });
      const [total, share] = [make("span", { class: "total" }), make("span", { class: "share" })];
      const button = make("button", { type: "button", click: point, pointerenter: point, focus: point }, make("b", {}, short(this.names[output])), total, share);
      return { button, total, share };
    });
    return make("div", { class: "totals" }, ...this.outputs.map(({ button }) => button));
  }

  // Names the classes: digits, or clothes.
  nameOutputs(names) {
    this.names = names;
    this.outputs.forEach(({ button }, output) => button.firstChild.replaceChildren(short(names[output])));
  }

  // image: Uint8Array(784); forward: what net.forward returned for it. Layers are read anew, since training changes them.
  show(image, forward) {
    this.layers = this.net.layers;
    this.picture = { image, input: explain.scaled(image), ...forward };
    this.input.drawInk(image);
    this.rows.forEach(({ maps, filters }, position) => {
      const values = forward.layers[position];
      const scale = largest(values);
      maps.forEach((map, channel) => map.drawSigned(values, scale, channel, maps.length));
      if (filters.length > 0) this.drawFilters(filters, this.layers[position].parameters.filters.data);
    });
    this.showOutputs(forward);
    this.chosen ??= farthestFromPaper(forward.layers[0], this.layers[0].shape);
    this.explain();
  }

  drawFilters(filters, weights) {
    const scale = largest(weights);
    filters.forEach((map, channel) => {
      const side = 3 * map.tiles;
      const drawn = new Float32Array(side * side);
      for (let from = 0; from < map.channels; from++) {
        for (let i = 0; i < 9; i++) {
          const row = Math.floor(from / map.tiles) * 3 + Math.floor(i / 3);
          const column = (from % map.tiles) * 3 + (i % 3);
          drawn[row * side + column] = weights[(channel * 9 + i) * map.channels + from];
        }
      }
      map.drawSigned(drawn, scale);
    });
  }

  showOutputs({ totals, probabilities }) {
    const best = probabilities.indexOf(Math.max(...probabilities));
    this.outputs.forEach(({ button, total, share }, output) => {
      total.textContent = signed(totals[output], 1);
      share.textContent = percent(probabilities[output]);
      button.style.setProperty("--share", probabilities[output]);
      button.classList.toggle("best", output === best);
    });
  }

  // `net.layers` copies all parameters, so it is read once for a picture.
  snapshotOfNet() {
    return { layers: this.layers, imageShape: this.net.imageShape, nodes: this.net.nodes };
  }

  inputOf(position) {
    return position === 0 ? this.picture.input : this.picture.layers[position - 1];
  }

  choose(chosen) {
    this.chosen = chosen;
    if (this.picture === null) return;
    const view = this.explain();
    const isByKeyboard = document.activeElement?.matches(":focus-visible") ?? false;
    if (isByKeyboard) byId("spoken").textContent = `${view.title}: ${view.spoken}`;
  }

  explain() {
    for (const map of [this.input, ...this.rows.flatMap(({ maps, filters }) => [...maps, ...filters])]) map.unframe();
    this.outputs.forEach(({ button }, output) => {
      button.classList.toggle("chosen", this.chosen.kind === "output" && output === this.chosen.output);
    });
    const view = this[this.chosen.kind](this.chosen);
    byId("inspector").replaceChildren(make("h3", { id: "inspector-title" }, view.title), ...view.parts);
    return view;
  }

  pixel(chosen) {
    this.input.frame(chosen.row, chosen.column, 1, 1, true);
    return views.pixelView(chosen, this.picture.image[chosen.row * this.net.imageShape[1] + chosen.column]);
  }

  filter(chosen) {
    const map = this.rows[chosen.layer].filters[chosen.channel];
    const [row, column] = [Math.floor(chosen.tile / map.tiles) * 3, (chosen.tile % map.tiles) * 3];
    map.frame(row, column, 3, 3, true);
    const layer = this.layers[chosen.layer];
    const { data } = layer.parameters.filters;
    const weights = Array.from({ length: 9 }, (_, i) => data[(chosen.channel * 9 + i) * map.channels + chosen.tile]);
    return views.filterView(chosen, weights, nameOf(layer));
  }

  // What spoke for an output: {height, width, values}, summed over the maps.
  evidence(output) {
    const position = this.layers.length - 1;
    const shape = explain.inputShape(this.net, position);
    const evidence = explain.evidenceFor(this.snapshotOfNet(), this.inputOf(position), output);
    const [height, width] = shape.length === 3 ? shape : [1, shape[0]];
    return { height, width, values: shape.length === 3 ? explain.overChannels(evidence, shape) : evidence };
  }

  output({ output }) {
    const { totals, probabilities } = this.picture;
    return views.outputView({ output }, { totals, probabilities, evidence: this.evidence(output), names: this.names });
  }

  value(chosen) {
    const { layer: position, row, column, channel } = chosen;
    const layer = this.layers[position];
    const [name, input, net] = [nameOf(layer), this.inputOf(position), this.snapshotOfNet()];
    this.rows[position].maps[channel].frame(row, column, 1, 1, true);
    const before = (from) => (position === 0 ? this.input : this.rows[position - 1].maps[from]);
    const index = (row * layer.shape[1] + column) * explain.channelsOf(layer.shape) + channel;
    switch (explain.kindOf(layer)) {
      case "conv3x3": {
        const told = explain.convolution(net, position, input, chosen);
        before(told.strongest.from).frame(told.top, told.left, 3, 3);
        const filter = this.rows[position].filters[channel];
        filter.frame(Math.floor(told.strongest.from / filter.tiles) * 3, (told.strongest.from % filter.tiles) * 3, 3, 3);
        return views.convolutionView(chosen, told, name);
      }
      case "maxpool2": {
        const told = explain.pooling(net, position, input, chosen);
        before(channel).frame(told.top, told.left, 2, 2);
        return views.poolingView(chosen, told, name);
      }
      case "relu":
        before(channel).frame(row, column);
        return views.reluView(chosen, input[index], this.picture.layers[position][index], name);
      default:
        return views.otherView(chosen, this.picture.layers[position][index], name);
    }
  }
}

const elements = (maps) => maps.map((map) => map.element);

function row(title, size, cells, kind = "") {
  const columns = Math.min(cells.length, MOST_COLUMNS);
  const label = make("div", { class: "label" }, make("b", {}, title), make("span", {}, size));
  return make("div", { class: `layer ${kind}`, style: `--columns: ${columns}` }, label, make("div", { class: "maps" }, ...cells));
}
