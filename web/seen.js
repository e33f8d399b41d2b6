// What the network sees: 28x28 pixels. While someone points at an output: what spoke for it.

import { SIDE } from "./centring.js";
import { byId } from "./dom.js";
import { evidenceMap } from "./inspector.js";
import { PixelMap } from "./maps.js";

const CAPTION = "28×28 pixels: all that the network sees";

export class Seen {
  constructor() {
    this.map = new PixelMap({ height: SIDE, width: SIDE, label: "The picture that the network sees" });
  }

  showPicture(image) {
    this.map.drawInk(image);
    this.show(this.map, CAPTION);
  }

  // evidence: {height, width, values}, as Inside.evidence returns it.
  showEvidence(evidence, name) {
    this.show(evidenceMap(evidence, name), `What spoke for ${name} (blue) and against it (orange)`);
  }

  show(map, caption) {
    byId("seen").replaceChildren(map.element);
    byId("seen-caption").textContent = caption;
  }
}
