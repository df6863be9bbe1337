// The three primitives behind a round, written out so that a player can read them: SHA-256 (FIPS 180-4),
// HMAC-SHA256 (RFC 2104) and the ChaCha20 keystream (RFC 8439 rounds, a 64-bit block counter, a zero nonce).
// They are here in plain JavaScript, and not taken from WebCrypto, because browsers offer that only on https pages
// and verification must work everywhere. Nothing secret passes through: every input has already been revealed.

const ROUND_CONSTANTS = fractionalBitsOfPrimeRoots(64, 1 / 3);
const INITIAL_STATE = fractionalBitsOfPrimeRoots(8, 1 / 2);
const BLOCK_BYTES = 64;

// The standard defines its constants as the first 32 fractional bits of roots of the first primes. A double holds
// these roots with 52 bits, which is enough: the largest, cbrt(311) = 6.77, spends three bits on its integer part.
function fractionalBitsOfPrimeRoots(count, exponent) {
  const words = [];
  for (let candidate = 2; words.length < count; candidate += 1) {
    let divisor = 2;
    while (divisor * divisor <= candidate && candidate % divisor !== 0) divisor += 1;
    if (divisor * divisor > candidate) {
      const root = candidate ** exponent;
      words.push(((root - Math.floor(root)) * 2 ** 32) | 0);
    }
  }
  return words;
}

/** The bytes of an ASCII text; the fairness rules hash texts as their ASCII characters. */
export function asciiBytes(text) {
  return Uint8Array.from(text, (character) => {
    const code = character.codePointAt(0);
    if (code > 127) throw new RangeError(`"${character}" is not an ASCII character`);
    return code;
  });
}

/** Lower-case hex of bytes. */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256 of bytes, as 32 bytes. */
export function sha256(message) {
  const padded = new Uint8Array(Math.ceil((message.length + 9) / BLOCK_BYTES) * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(message.length) * 8n);

  const state = Int32Array.from(INITIAL_STATE);
  const schedule = new Int32Array(64);
  for (let offset = 0; offset < padded.length; offset += BLOCK_BYTES) {
    for (let t = 0; t < 16; t += 1) schedule[t] = view.getInt32(offset + 4 * t);
    compress(state, schedule);
  }

  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setInt32(4 * index, word));
  return new Uint8Array(digest.buffer);
}

function compress(state, schedule) {
  const rotate = (word, bits) => (word >>> bits) | (word << (32 - bits));
  for (let t = 16; t < 64; t += 1) {
    const early = schedule[t - 15];
    const late = schedule[t - 2];
    const sigma0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
    const sigma1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
    schedule[t] = (schedule[t - 16] + sigma0 + schedule[t - 7] + sigma1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let t = 0; t < 64; t += 1) {
    const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const first = (h + sum1 + choice + ROUND_CONSTANTS[t] + schedule[t]) | 0;
    const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + sum0 + majority) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, index) => { state[index] += word; });
}

/** SHA-256 of an ASCII text, as lower-case hex: what `echo -n TEXT | sha256sum` prints. */
export function sha256Text(text) {
  return hex(sha256(asciiBytes(text)));
}

/** HMAC-SHA256 of two ASCII texts, as 32 bytes. */
export function hmacSha256(key, message) {
  const keyBytes = asciiBytes(key);
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(keyBytes.length > BLOCK_BYTES ? sha256(keyBytes) : keyBytes);
  const inner = sha256(concatenate(block.map((byte) => byte ^ 0x36), asciiBytes(message)));
  return sha256(concatenate(block.map((byte) => byte ^ 0x5c), inner));
}

function concatenate(left, right) {
  const joined = new Uint8Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}

/** The endless keystream of a 32-byte key, read as little-endian 64-bit words. */
export function* keystreamWords(key) {
  for (let counter = 0n; ; counter += 1n) {
    const block = new DataView(chacha20Block(key, counter).buffer);
    for (let offset = 0; offset < BLOCK_BYTES; offset += 8) yield block.getBigUint64(offset, true);
  }
}

/** One 64-byte block of ChaCha20 with a zero nonce. */
export function chacha20Block(key, counter) {
  const keyView = new DataView(key.buffer, key.byteOffset, 32);
  const initial = new Uint32Array(16);
  initial.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]); // "expand 32-byte k"
  for (let index = 0; index < 8; index += 1) initial[4 + index] = keyView.getUint32(4 * index, true);
  initial[12] = Number(counter & 0xffffffffn);
  initial[13] = Number(counter >> 32n);

  const work = Uint32Array.from(initial);
  for (let doubleRound = 0; doubleRound < 10; doubleRound += 1) {
    for (let column = 0; column < 4; column += 1) quarterRound(work, column, column + 4, column + 8, column + 12);
    for (let diagonal = 0; diagonal < 4; diagonal += 1) {
      quarterRound(work, diagonal, 4 + ((diagonal + 1) % 4), 8 + ((diagonal + 2) % 4), 12 + ((diagonal + 3) % 4));
    }
  }

  const block = new DataView(new ArrayBuffer(BLOCK_BYTES));
  work.forEach((word, index) => block.setUint32(4 * index, word + initial[index], true));
  return new Uint8Array(block.buffer);
}

function quarterRound(work, a, b, c, d) {
  const mix = (target, addend, mixed, bits) => {
    work[target] += work[addend];
    const word = work[mixed] ^ work[target];
    work[mixed] = (word << bits) | (word >>> (32 - bits));
  };
  mix(a, b, d, 16);
  mix(c, d, b, 12);
  mix(a, b, d, 8);
  mix(c, d, b, 7);
}
