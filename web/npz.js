// numpy's npz files: zip archives of arrays. PKWARE's APPNOTE describes zip, and numpy.lib.format describes npy 1.0.

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22;
const STORED = 0, DEFLATED = 8, MOST_BYTES = 1 << 26;
const MAGIC = [0x93, ..."NUMPY"].map((c) => (typeof c === "string" ? c.charCodeAt(0) : c)).concat(1, 0);

const KINDS = {"|u1": Uint8Array, "<i4": Int32Array, "<i8": BigInt64Array, "<f4": Float32Array, "<f8": Float64Array};

// Returns a Map from each array's name to {shape, data}: `data` is a typed array, or for a text the string.
export async function readNpz(bytes) {
  if (!(bytes instanceof Uint8Array)) throw new TypeError(`file: expected a Uint8Array, got ${typeof bytes}`);
  const arrays = new Map();
  for (const member of members(bytes)) {
    const content = await unpacked(bytes, member);
    if (crc32(content) !== member.crc) throw new Error(`${member.name}: the file is damaged (its checksum differs)`);
    arrays.set(member.name.replace(/\.npy$/, ""), readNpy(member.name, content));
  }
  return arrays;
}

// The reverse, without compression. Each of `arrays` is [name, {shape, data}].
export function writeNpz(arrays) {
  const files = [], directory = [];
  let offset = 0;
  for (const [name, array] of arrays) {
    const content = writeNpy(array), encoded = new TextEncoder().encode(`${name}.npy`);
    const fields = [20, 0, STORED, 0, 0x21].map(u16)  // version 2.0, no flags, not compressed, 1 January 1980
      .concat([u32(crc32(content)), u32(content.length), u32(content.length), u16(encoded.length), u16(0)]).flat();
    const central = [...u32(CENTRAL), ...u16(20), ...fields, ...u16(0), ...u16(0), ...u16(0), ...u32(0), ...u32(offset)];
    files.push(Uint8Array.from([...u32(LOCAL), ...fields]), encoded, content);
    directory.push(Uint8Array.from(central), encoded);
    offset += LOCAL_SIZE + encoded.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0), members = u16(arrays.length);
  const end = Uint8Array.from([...u32(END), 0, 0, 0, 0, ...members, ...members, ...u32(size), ...u32(offset), 0, 0]);
  return joined([...files, ...directory, end]);
}

function* members(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - END_SIZE;
  while (end >= 0 && view.getUint32(end, true) !== END) --end;
  if (end < 0) throw new Error("expected an npz file, got another or a damaged one");
  let at = view.getUint32(end + 16, true), total = 0;
  for (let left = view.getUint16(end + 10, true); left > 0; --left) {
    if (at + CENTRAL_SIZE > end || view.getUint32(at, true) !== CENTRAL) throw new Error("the file is damaged (its directory)");
    const nameSize = view.getUint16(at + 28, true), local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + CENTRAL_SIZE, at + CENTRAL_SIZE + nameSize));
    if (local + LOCAL_SIZE > at || view.getUint32(local, true) !== LOCAL) throw new Error(`${name}: the file is damaged`);
    const start = local + LOCAL_SIZE + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const [crc, packed, size] = [16, 20, 24].map((field) => view.getUint32(at + field, true));
    if (start + packed > bytes.length) throw new Error(`${name}: the file is damaged (it ends too soon)`);
    total += size;
    if (total > MOST_BYTES) throw new Error(`expected at most ${MOST_BYTES} bytes unpacked, got ${total}`);
    yield {name, method: view.getUint16(at + 10, true), crc, size, packed: bytes.subarray(start, start + packed)};
    at += CENTRAL_SIZE + nameSize + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}

async function unpacked(bytes, {name, method, size, packed}) {
  if (method === STORED) {
    if (packed.length !== size) throw new Error(`${name}: the file is damaged (its size)`);
    return packed;
  }
  if (method !== DEFLATED) throw new Error(`${name}: expected no compression or deflate, got method ${method}`);
  const content = new Uint8Array(size), stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  let at = 0;
  for (const reader = stream.getReader(); ;) {
    const {done, value} = await reader.read().catch((error) => { throw new Error(`${name}: the file is damaged (${error.message})`); });
    if (done) break;
    if (at + value.length > size) throw new Error(`${name}: the file is damaged (it unpacks to more than ${size} bytes)`);
    content.set(value, at);
    at += value.length;
  }
  if (at !== size) throw new Error(`${name}: the file is damaged (it unpacks to ${at} bytes, and not ${size})`);
  return content;
}

function readNpy(name, content) {
  if (content.length < 10 || MAGIC.some((byte, i) => content[i] !== byte))
    throw new Error(`${name}: expected an array in npy format 1.0`);
  const headerSize = content[8] + 256 * content[9], header = new TextDecoder("latin1").decode(content.subarray(10, 10 + headerSize));
  const found = /^\{'descr': '([^']*)', 'fortran_order': (False|True), 'shape': \(([\d, ]*)\), \}\s*$/.exec(header);
  if (found === null) throw new Error(`${name}: expected an array's description, got ${header.slice(0, 100)}`);
  const [, descr, isFortran, sizes] = found;
  const shape = sizes.split(",").map((size) => size.trim()).filter((size) => size !== "").map(Number);
  const items = shape.reduce((product, size) => product * size, 1), body = content.slice(10 + headerSize);
  const text = /^<U(\d+)$/.exec(descr), Kind = text === null ? KINDS[descr] : Uint32Array;
  if (Kind === undefined || (text !== null && shape.length > 0))
    throw new Error(`${name}: expected one of ${Object.keys(KINDS).join(", ")} or a text, got ${descr} of shape (${sizes})`);
  if (isFortran === "True") throw new Error(`${name}: expected an array in C order, got Fortran order`);
  if (body.length !== (text === null ? items * Kind.BYTES_PER_ELEMENT : 4 * text[1]))
    throw new Error(`${name}: expected ${descr} of shape (${sizes}), got ${body.length} bytes`);
  const data = new Kind(body.buffer, 0, body.length / Kind.BYTES_PER_ELEMENT);
  return {shape, data: text === null ? data : Array.from(data, (code) => String.fromCodePoint(code)).join("")};
}

function writeNpy({shape, data}) {
  const isText = typeof data === "string", values = isText ? Uint32Array.from(data, (c) => c.codePointAt(0)) : data;
  const descr = isText ? `<U${values.length}` : Object.keys(KINDS).find((kind) => data instanceof KINDS[kind]);
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";  // so that data begin at 64
  const body = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return joined([Uint8Array.from([...MAGIC, ...u16(padded.length)]), new TextEncoder().encode(padded), body]);
}

const u16 = (value) => [value & 255, value >> 8];
const u32 = (value) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const CRC_TABLE = Uint32Array.from({length: 256}, (_, byte) => {
  for (let bit = 0; bit < 8; ++bit) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
