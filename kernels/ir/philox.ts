/**
 * Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3" (SC 2011), in exact 32-bit arithmetic. Hosts and the reference
 * device use it; the kernels reproduce it bit for bit.
 */

export type Words2 = readonly [number, number]
export type Words4 = readonly [number, number, number, number]

/** Multipliers of a round, for counter words 0 and 2. */
export const philoxMultipliers: Words2 = [0xd2511f53, 0xcd9e8d57]
/** What the key grows by from round to round: the golden ratio and √3 − 1, as 32-bit fractions. */
export const philoxWeyl: Words2 = [0x9e3779b9, 0xbb67ae85]
export const philoxRounds = 10

/** High word of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const low = a0 * b0
  const middle = a1 * b0 + (low >>> 16) // < 2³²
  const carry = a0 * b1 + (middle % 0x10000)
  return (a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}

/** Four random words, each an unsigned 32-bit integer, from a 128-bit counter and a 64-bit key. */
export function philox4x32(counter: Words4, key: Words2): Words4 {
  const [m0, m1] = philoxMultipliers
  const [w0, w1] = philoxWeyl
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < philoxRounds; round++) {
    const [high0, low0] = [multiplyHigh(m0, c0), Math.imul(m0, c0) >>> 0]
    const [high1, low1] = [multiplyHigh(m1, c2), Math.imul(m1, c2) >>> 0]
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0]
    k0 = (k0 + w0) >>> 0
    k1 = (k1 + w1) >>> 0
  }
  return [c0, c1, c2, c3]
}

/**
 * A stream of words: word i is word i mod 4 of Philox at the 64-bit counter `counter` + ⌊i/4⌋
 * (low word, high word, 0, 0). Fills `into`, starting at word 0.
 */
export function philoxStream(key: Words2, counter: Words2, into: Uint32Array): void {
  let [low, high] = [counter[0] >>> 0, counter[1] >>> 0]
  for (let i = 0; i < into.length; i += 4) {
    const words = philox4x32([low, high, 0, 0], key)
    for (let j = 0; j < 4 && i + j < into.length; j++) into[i + j] = words[j] ?? 0
    low = (low + 1) >>> 0
    if (low === 0) high = (high + 1) >>> 0
  }
}
