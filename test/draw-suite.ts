/**
 * What devices draw against the words of Philox on the host: each device gives these bits, so all give the same. Numbers that are
 * made of words by exact steps are equal, too; normals are within a bound on their roundings.
 */
import { describe, expect, test } from 'vitest'
import { RandomGenerator, bernoulli, dropout, normal, permutation, randint, realize, tensor, uniform } from '../engine/index.ts'
import type { Device, RandomGeneratorState, Tensor } from '../engine/index.ts'
import { apply } from '../engine/op.ts'
import { randomBitsOp } from '../engine/ops/random.ts'
import { sizeOf } from '../engine/shape.ts'
import { philoxStream } from '../kernels/ir/philox.ts'

const full = 0xffffffff
/** Seeds, and positions from which the low word of the counter overflows within a draw, or the whole counter. */
const states: readonly RandomGeneratorState[] = [
  { key: [0, 0], counter: [0, 0] },
  { key: [7, 0], counter: [5, 0] },
  { key: [0x9e3779b9, 0xdeadbeef], counter: [full, 3] },
  { key: [full, full], counter: [full - 1, full] },
]
/** Blocks whose first word has ones in its upper 24 bits, and zeros. */
const [allOnes, allZeros] = [20_922_799, 32_245_323]
const extremes: readonly RandomGeneratorState[] = [allOnes, allZeros].map((block) => ({ key: [7, 0], counter: [block, 0] }))
const shapes = [[], [1], [3], [5, 7], [2, 31, 33], [4096], [4099], [0, 3]] as const

const at = (state: RandomGeneratorState): RandomGenerator => {
  const generator = new RandomGenerator(0)
  generator.restore(state)
  return generator
}
const wordsAt = ({ key, counter }: RandomGeneratorState, count: number): Uint32Array => {
  const words = new Uint32Array(count)
  philoxStream(key, counter, words)
  return words
}
/** In [0, 1), exact. */
const fraction = (word: number): number => (word >>> 8) * 2 ** -24

const list = async (x: Tensor): Promise<number[]> => Array.from(await x.data())

/** The first difference in words, which takes no time, as a diff of long lists does. */
function difference(got: ArrayLike<number>, expected: ArrayLike<number>): string | undefined {
  if (got.length !== expected.length) return `there are ${got.length} numbers, not ${expected.length}`
  const i = Array.from(expected).findIndex((value, k) => got[k] !== value)
  return i < 0 ? undefined : `number ${i} of ${expected.length} is ${got[i]}, not ${expected[i]}`
}

/**
 * The largest error of a normal in f32, in units of 2⁻²⁴·√(−2 ln u). The logarithm errs by 1 ulp at most and the root by 2.5, which
 * are 2 and 5 parts in 2²⁴ of them, of which the root halves the first; the product is rounded. The angle, below 8, is off by 4 units at most, the
 * cosine so by 4·|sin|, and by 2.5 ulp, which are units, of its own. |cos|·(1 + 5 + 1) + |sin|·4 + 2.5 ≤ √(7² + 4²) + 2.5 < 11.
 */
const roundings = 11

/** z of those words in float64, and √(−2 ln u) of each. */
function boxMuller(words: Uint32Array): { readonly z: number[]; readonly radius: number[] } {
  const pairs = words.length / 2
  const radius = Array.from({ length: pairs }, (_, i) => Math.sqrt(-2 * Math.log(fraction(words[i] ?? 0) + 2 ** -24)))
  const angle = radius.map((_, i) => Math.fround(2 * Math.PI) * fraction(words[pairs + i] ?? 0))
  return { z: [Math.cos, Math.sin].flatMap((f) => radius.map((r, i) => r * f(angle[i] ?? 0))), radius: [...radius, ...radius] }
}

export function describeDraws(label: string, device: Device): void {
  /** As many draws as there are states. */
  const each = (shape: readonly number[], draw: (generator: RandomGenerator) => Tensor): Tensor[] => states.map((state) => {
    const generator = at(state)
    const drawn = draw(generator)
    expect(drawn.shape).toEqual(shape)
    return drawn
  })
  const expectEach = async (draws: readonly Tensor[], expected: (state: RandomGeneratorState) => readonly number[]): Promise<void> => {
    await realize(...draws)
    for (const [i, state] of states.entries()) expect(difference((await draws[i]?.data()) ?? [], expected(state)), `from ${JSON.stringify(state)}`).toBeUndefined()
  }

  describe(`draws on ${label}`, () => {
    test.each([0, 1, 3, 4, 31, 1023, 4096, 4099, 65_537])('%i words of each row', async (length) => {
      const leaf = (name: 'key' | 'counter'): Tensor => tensor(Uint32Array.from(states.flatMap((s) => s[name])), [states.length, 2], { dtype: 'u32', device })
      const words = await apply(randomBitsOp, [leaf('key'), leaf('counter')], { length }).data()
      for (const [row, state] of states.entries()) expect(difference(words.subarray(row * length, (row + 1) * length), wordsAt(state, length)), `row ${row}`).toBeUndefined()
    })

    test('uniform: all shapes, in [0, 1) and in [−1, 1)', async () => {
      for (const shape of shapes) {
        const n = sizeOf(shape)
        await expectEach(each(shape, (generator) => uniform(shape, { generator, device })), (state) => Array.from(wordsAt(state, n), fraction))
        await expectEach(each(shape, (generator) => uniform(shape, { generator, device, low: -1, high: 1 })), (state) => Array.from(wordsAt(state, n), (w) => 2 * fraction(w) - 1))
      }
    })

    test('uniform: a generator for each place of the first axis', async () => {
      const drawn = await list(uniform([states.length, 3, 11], { generator: states.map(at), device }))
      expect(difference(drawn, states.flatMap((state) => Array.from(wordsAt(state, 33), fraction)))).toBeUndefined()
    })

    test('uniform: within its bounds, whatever they are and whatever the words', async () => {
      const bounds = [[1000, 1001], [-1001, -1000], [0, 2 ** -126], [2 ** -100, 2 ** -99], [-(2 ** -24), 1], [-3e38, 1e30], [0.3, 0.7], [16_777_215, 16_777_216], [5, 5], [-1, 0]] as const
      const n = 2 ** 16
      for (const [low, high] of bounds) {
        const [from, to] = [low, high].map((bound) => tensor(Float32Array.of(bound), null, { device }))
        const draws = [...extremes.map((state) => uniform([n], { low, high, generator: at(state), device })), uniform([n], { low: from ?? low, high: to ?? high, generator: new RandomGenerator(1), device })]
        await realize(...draws)
        for (const drawn of draws) {
          const wrong = (await drawn.data()).find((x) => !(x >= Math.fround(low) && (x < Math.fround(high) || low === high)))
          expect(wrong, `of [${low}, ${high})`).toBeUndefined()
        }
      }
    })

    test('uniform: of narrow types, below what they hold of the upper bound', async () => {
      for (const dtype of ['bf16', 'f16'] as const) {
        if (!device.supports(dtype)) continue
        for (const [low, high] of [[0, 1], [1, 2], [-0.75, -0.5], [3, 3.0009765625]] as const) {
          const drawn = await list(uniform([2 ** 16], { low, high, dtype, generator: at({ key: [7, 0], counter: [allOnes, 0] }), device }))
          expect([Math.min(...drawn) >= low, Math.max(...drawn) < high], `${dtype} of [${low}, ${high})`).toEqual([true, true])
        }
      }
    })

    test('normal, bernoulli and dropout of the least and the largest fraction', async () => {
      const [one, zero] = extremes.map((state) => at(state))
      const z = [...await list(normal([1], { generator: one, device })), ...await list(normal([1], { generator: zero, device }))]
      expect(z.map(Math.abs).every((x) => x <= 5.77)).toBe(true)
      expect(z[0]).toBeCloseTo(0, 9)
      for (const state of extremes) {
        expect(await list(bernoulli([1], { probability: 1, generator: at(state), device }))).toEqual([1])
        expect(await list(bernoulli([1], { probability: 0, generator: at(state), device }))).toEqual([0])
        expect(await list(dropout(tensor(Float32Array.of(3), null, { device }), { p: 1, generator: at(state) }))).toEqual([0])
        expect(await list(dropout(tensor(Float32Array.of(3), null, { device }), { p: 0, generator: at(state) }))).toEqual([3])
      }
    })

    test('randint', async () => {
      for (const [low, high] of [[0, 1], [0, 10], [-3, 1000], [0, 2 ** 24], [-(2 ** 30), 2 ** 30], [-(2 ** 31), 0]] as const) {
        await expectEach(each([4099], (generator) => randint([4099], { low, high, generator, device })), (state) => Array.from(wordsAt(state, 4099), (w) => low + (w % (high - low))))
      }
    })

    test('permutation', async () => {
      for (const n of [1, 2, 33, 1025, 4099]) {
        await expectEach(each([n], (generator) => permutation(n, { generator, device })), (state) => {
          const words = wordsAt(state, 2 * n)
          const key = (i: number): bigint => (BigInt(words[n + i] ?? 0) << 32n) | BigInt(words[i] ?? 0)
          return Array.from({ length: n }, (_, i) => i).sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b))
        })
      }
    })

    test('bernoulli, and the masks of dropout', async () => {
      const n = 4099
      for (const share of [0, 0.25, 0.3, 0.999, 1]) {
        const limit = Math.fround(share)
        await expectEach(each([n], (generator) => bernoulli([n], { probability: share, generator, device })), (state) => Array.from(wordsAt(state, n), (w) => Number(fraction(w) < limit)))
        const x = tensor(Float32Array.from({ length: n }, (_, i) => 2 ** (i % 5)), null, { device })
        const scale = Math.fround(share === 1 ? 0 : 1 / (1 - share))
        await expectEach(each([n], (generator) => dropout(x, { p: share, generator })), (state) => Array.from(wordsAt(state, n), (w, i) => (fraction(w) >= limit ? 2 ** (i % 5) * scale : 0)))
      }
    })

    test('normal: of the same words, within their roundings', async () => {
      for (const shape of [[1], [4099], [2, 31, 33]] as const) {
        const n = sizeOf(shape)
        const draws = each(shape, (generator) => normal(shape, { generator, device }))
        await realize(...draws)
        for (const [row, state] of states.entries()) {
          const { z, radius } = boxMuller(wordsAt(state, 2 * Math.ceil(n / 2)))
          const got = await draws[row]?.data()
          const wrong = z.slice(0, n).findIndex((exact, i) => !(Math.abs((got?.[i] ?? NaN) - exact) <= roundings * 2 ** -24 * (radius[i] ?? NaN)))
          expect(wrong, `normal ${wrong} of ${n} is ${got?.[wrong]}, not ${z[wrong]}`).toBe(-1)
        }
      }
    })

    test('a generator that goes on from its saved state draws what comes next', async () => {
      const kinds: readonly ((generator: RandomGenerator) => Tensor)[] = [
        (generator) => uniform([7], { generator, device }), (generator) => normal([5], { generator, device }),
        (generator) => permutation(9, { generator, device }), (generator) => randint([3], { high: 6, generator, device }),
      ]
      for (const state of states) {
        const whole = at(state)
        const all: number[][] = []
        for (const draw of [...kinds, ...kinds]) all.push(await list(draw(whole)))
        const first = at(state)
        for (const draw of kinds) draw(first) // Recorded is drawn, computed or not.
        const second = at(JSON.parse(JSON.stringify(first.state())) as RandomGeneratorState)
        const rest: number[][] = []
        for (const draw of kinds) rest.push(await list(draw(second)))
        expect(rest).toEqual(all.slice(kinds.length))
        expect(second.state()).toEqual(whole.state())
      }
    })

    test('the device’s own generator', async () => {
      device.manualSeed(2n ** 63n + 5n)
      const [first, second] = [uniform([6], { device }), uniform([2], { device })]
      const words = wordsAt({ key: [5, 2 ** 31], counter: [0, 0] }, 10)
      expect([await list(first), await list(second)]).toEqual([Array.from(words.subarray(0, 6), fraction), Array.from(words.subarray(8), fraction)])
    })
  })
}

/** More elements than one row of workgroups has invocations, and an odd number of them. */
export function describeManyDraws(label: string, device: Device): void {
  test(`${65_536 * 256 + 5} numbers on ${label}`, { timeout: 120_000 }, async () => {
    const n = 65_536 * 256 + 5
    const [key, counter] = [[11, 12], [full - 2 ** 20, 0]] as const
    const got = await uniform([n], { generator: at({ key, counter }), device }).data()
    expect(got.length).toBe(n)
    // Windows of 2¹⁴ numbers, around the end of the first row of workgroups and of the low word's range among others.
    const windows = [0, 2 ** 22 - 2 ** 13, 2 ** 23, 65_535 * 256 - 2 ** 13, n - 5 - 2 ** 13]
    for (const from of windows) {
      const start = BigInt(counter[0]) + BigInt(from / 4)
      const words = wordsAt({ key, counter: [Number(start & 0xffffffffn), Number(start >> 32n)] }, Math.min(2 ** 14, n - from))
      expect(difference(got.subarray(from, from + words.length), Array.from(words, fraction)), `from ${from}`).toBeUndefined()
    }
  })
}
