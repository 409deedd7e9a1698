// An animated GIF of small pictures, enlarged by whole pixels (GIF89a).

const MOST_COLOURS = 256;
const LAST_CODE = 4095;

/**
 * Frames as a GIF. The page goes on between one and the next.
 * @param {ImageData[]} frames  opaque, all of one size
 * @param {number} scale  1 or more
 * @param {number} delay  between frames, in hundredths of a second
 * @param {AbortSignal} signal
 * @returns {Promise<Blob>}  raises what the signal is aborted for
 */
export async function animation(frames, scale, delay, signal) {
  const [width, height] = [frames[0].width * scale, frames[0].height * scale];
  const word = (/** @type {number} */ value) => [value & 255, value >> 8];
  const text = (/** @type {string} */ ascii) => [...ascii].map((character) => character.charCodeAt(0));
  const bytes = [
    ...text("GIF89a"), ...word(width), ...word(height), 0x70, 0, 0,
    0x21, 0xff, 11, ...text("NETSCAPE2.0"), 3, 1, ...word(0), 0, // for ever
  ];
  for (const frame of frames) {
    await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
    const { palette, indices } = reduced(frame);
    bytes.push(0x21, 0xf9, 4, 4, ...word(delay), 0, 0);
    bytes.push(0x2c, ...word(0), ...word(0), ...word(width), ...word(height), 0x87, ...palette, 8);
    const code = compressed(enlarged(indices, frame.width, scale));
    for (let at = 0; at < code.length; at += 255) {
      const block = code.slice(at, at + 255);
      bytes.push(block.length, ...block);
    }
    bytes.push(0);
  }
  return new Blob([new Uint8Array([...bytes, 0x3b])], { type: "image/gif" });
}

/**
 * A frame in 256 colours: exact where it has no more, else as many bits of each channel as fit.
 * @param {ImageData} frame
 */
function reduced({ data }) {
  for (let dropped = 0; ; dropped++) {
    /** @type {Map<number, number>} */
    const places = new Map();
    /** @type {number[]} */
    const palette = [];
    const indices = Array.from({ length: data.length / 4 }, (_, i) => {
      const colour = [...data.subarray(4 * i, 4 * i + 3)];
      const key = colour.reduce((all, value) => (all << 8) | (value >> dropped), 0);
      if (!places.has(key)) {
        places.set(key, places.size);
        palette.push(...colour);
      }
      return /** @type {number} */ (places.get(key));
    });
    if (places.size > MOST_COLOURS) continue;
    return { palette: [...palette, ...new Array(3 * (MOST_COLOURS - places.size)).fill(0)], indices };
  }
}

/** @param {number[]} indices @param {number} width @param {number} scale */
function enlarged(indices, width, scale) {
  const height = indices.length / width;
  return Array.from({ length: indices.length * scale * scale }, (_, i) => {
    const [row, column] = [Math.floor(i / (width * scale)), i % (width * scale)];
    return indices[Math.min(Math.floor(row / scale), height - 1) * width + Math.floor(column / scale)];
  });
}

/** LZW with codes of 9 to 12 bits. @param {number[]} indices  0..255 @returns {number[]} */
function compressed(indices) {
  const [clear, end] = [256, 257];
  /** @type {number[]} */
  const bytes = [];
  let [buffer, held, size, next] = [0, 0, 9, end + 1];
  /** The code of each known sequence: its prefix's code and its last index. @type {Map<number, number>} */
  let table = new Map();
  const put = (/** @type {number} */ code) => {
    buffer |= code << held;
    for (held += size; held >= 8; held -= 8, buffer >>>= 8) bytes.push(buffer & 255);
  };
  put(clear);
  let prefix = indices[0];
  for (const index of indices.slice(1)) {
    const key = (prefix << 8) | index;
    const known = table.get(key);
    if (known !== undefined) {
      prefix = known;
      continue;
    }
    put(prefix);
    prefix = index;
    if (next > LAST_CODE) {
      put(clear);
      [table, size, next] = [new Map(), 9, end + 1];
      continue;
    }
    table.set(key, next);
    if (next === 1 << size) size += 1;
    next += 1;
  }
  put(prefix);
  put(end);
  if (held) bytes.push(buffer & 255);
  return bytes;
}
