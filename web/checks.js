// Checks of arguments. Each error names what was given, what was expected, and what helps.

// Returns an integer from `least` to `most`.
export function integer(name, value, least, most) {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`${name}: expected an integer from ${least} to ${most}, got ${shown(value)}`);
  return value;
}

export function oneOf(name, value, allowed) {
  if (!allowed.includes(value))
    throw new RangeError(`${name}: expected one of ${allowed.map(shown).join(", ")}, got ${shown(value)}`);
  return value;
}

export function learnRate(value) {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
    throw new RangeError(`learnRate: expected a finite number of at least 0, for example 0.005, got ${shown(value)}`);
  return value;
}

// Returns the number of images in an array of bytes. `size` is the number of pixels of each.
export function images(name, value, size) {
  if (!(value instanceof Uint8Array))
    throw new TypeError(`${name}: expected a Uint8Array with ${size} bytes for each image, got ${shown(value)}`);
  if (value.length === 0 || value.length % size !== 0)
    throw new RangeError(`${name}: expected ${size} bytes for each image, at least one image, got ${value.length} bytes`);
  return value.length / size;
}

// The labels of `count` images.
export function labels(value, count) {
  if (!(value instanceof Uint8Array) || value.length !== count)
    throw new TypeError(`labels: expected a Uint8Array with ${count} labels, one for each image, got ${shown(value)}`);
}

// The numbers of `values` from `first` to `end` - 1, or those whose indices `order` has there.
export function below(name, values, limit, what, order, first, end) {
  for (let i = first; i < end; ++i) {
    const at = order === null ? i : order[i];
    if (values[at] >= limit)
      throw new RangeError(`${name}: expected 0 to ${limit - 1}, ${what}, got ${values[at]} at position ${at}`);
  }
}

// Which images to take, in which order.
export function order(value, count) {
  if (!(value instanceof Uint32Array) || value.length === 0)
    throw new TypeError(`order: expected a Uint32Array with indices of images, at least one, got ${shown(value)}`);
  below("order", value, count, "indices of the images", null, 0, value.length);
}

function shown(value) {
  if (value === null || typeof value !== "object") return typeof value === "string" ? `"${value}"` : String(value);
  const kind = value.constructor?.name ?? "object";
  return value.length === undefined ? kind : `${kind} of length ${value.length}`;
}
