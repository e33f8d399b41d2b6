// The two colour maps. Ink goes from paper to ink. Signed values go from orange over the page's own colour to blue, so
// that zero looks like nothing, in light and in dark mode; blue and orange are told apart by colour-blind eyes, too.

const dark = matchMedia("(prefers-color-scheme: dark)");

const MODES = {
  light: { paper: [255, 255, 255], ink: [27, 29, 34], negative: [190, 84, 12], zero: [244, 242, 237], positive: [36, 76, 190] },
  dark: { paper: [11, 12, 15], ink: [240, 238, 233], negative: [255, 158, 84], zero: [32, 35, 41], positive: [128, 168, 255] },
};

const mix = (from, to, share) => from.map((value, channel) => value + (to[channel] - value) * share);
const STEPS = 255;
const GAMMA = 0.75; // less than 1: small values are seen, too

class Colours {
  constructor(colours) {
    this.table = Uint32Array.from(colours, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    this.colours = colours.map((colour) => `rgb(${colour.map(Math.round).join(" ")})`);
  }

  css(index) {
    return this.colours[index];
  }
}

class Signed extends Colours {
  // The index of a value between -scale and scale.
  index(value, scale) {
    const share = scale > 0 ? Math.min(Math.abs(value) / scale, 1) ** GAMMA : 0;
    return STEPS + Math.round(value < 0 ? -share * STEPS : share * STEPS);
  }

  // Black or white, whatever can be read on the value's colour.
  textOn(value, scale) {
    const strong = Math.abs(this.index(value, scale) - STEPS) > STEPS * 0.62;
    return strong ? "var(--on-strong)" : "var(--ink)";
  }
}

const made = {};
for (const [name, mode] of Object.entries(MODES)) {
  const inks = Array.from({ length: 256 }, (_, level) => mix(mode.paper, mode.ink, level / 255));
  const signs = Array.from({ length: 2 * STEPS + 1 }, (_, index) => {
    const share = index / STEPS - 1;
    return mix(mode.zero, share < 0 ? mode.negative : mode.positive, Math.abs(share));
  });
  made[name] = { ink: new Colours(inks), signed: new Signed(signs) };
}

const now = () => made[dark.matches ? "dark" : "light"];
export const inkColours = () => now().ink;
export const signedColours = () => now().signed;
export const onModeChange = (listener) => dark.addEventListener("change", listener);
