/** Sample points and errors in units of the last place, for tests of approximations. */

/** The distance between neighbouring f32 at `x`. */
const ulp = (x: number): number => 2 ** Math.max(-149, Math.floor(Math.log2(Math.min(Math.abs(x), 3e38))) - 23)

/** Error of `got` in units of the last place; infinite where one of the two is special and the other is not. */
export function error(got: number, exact: number): number {
  const rounded = Math.fround(exact)
  if (Object.is(got, rounded) || (got === rounded && got !== 0)) return 0
  if (got === 0 && rounded === 0) return Infinity
  return Number.isFinite(got) && Number.isFinite(rounded) ? Math.abs(got - exact) / ulp(exact) : Infinity
}

/** Both signs, every binade from the denormals to 2¹²⁷, plus a uniform sampling of [−range, range]. */
export function samples(range: number, count = 120_000): Float32Array<ArrayBuffer> {
  const spread = Array.from({ length: count / 2 }, (_, i) => (((i * 0.6180339887498949) % 1) * 2 - 1) * range)
  const binades = Array.from({ length: count / 2 }, (_, i) => (i % 2 === 0 ? 1 : -1) * 2 ** ((i % 276) - 149) * (1 + ((i * 0.7548776662466927) % 1)))
  return new Float32Array([0, -0, NaN, Infinity, -Infinity, 1, -1, ...spread, ...binades])
}

export function worst(got: Float32Array, exact: (i: number) => number): { ulps: number; at: number } {
  let [ulps, at] = [0, -1]
  got.forEach((y, i) => {
    const e = error(y, exact(i))
    if (!(e <= ulps)) [ulps, at] = [e, i]
  })
  return { ulps, at }
}

export const sigmoid = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)))

const special = [0, -0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, 2.5, -2.5, 16777216, -16777215, 1e-40, -1e-40, 1e30, -1e30, Infinity, -Infinity, NaN]
/** Pairs of numbers with cases of their own. */
export const pairs: readonly (readonly [number, number])[] = special.flatMap((x) => special.map((y): [number, number] => [x, y]))
