/** The error function in float64. */

/**
 * erf(x) = 2/√π ∫₀ˣ exp(−t²) dt, to about 1e-15 (Abramowitz & Stegun 7.1.6 and 7.1.14): a series of
 * positive terms up to 3, beyond which the continued fraction of 1 − erf needs few digits.
 */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (a > 6) return Math.sign(x)
  if (a <= 3 || x !== x) {
    let term = x
    let sum = x
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (2 * a * a) / (2 * n + 1)
      sum += term
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum
  }
  let fraction = 0
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction)
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction))
}
