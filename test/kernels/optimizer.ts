/** What a step of AdamW does to one element, for the tests of both devices' kernels. */
const f = Math.fround

/** The numbers of a step in the order of the kernels' buffer, `apply` aside. */
export const settings: Readonly<Record<'lr' | 'beta1' | 'beta2' | 'eps' | 'weightDecay' | 'correction1' | 'correction2' | 'gradScale' | 'emaWeight', number>> = {
  lr: f(1e-3), beta1: f(0.9), beta2: f(0.999), eps: f(1e-8), weightDecay: f(0.01), correction1: f(0.271), correction2: f(0.002997), gradScale: f(0.37), emaWeight: f(0.01),
}

/** The operations of the kernels' description, one rounding each. */
export function adamwStep(p: number, g: number, m: number, v: number, ema: number): [p: number, m: number, v: number, ema: number] {
  const s = settings
  const decay = f(1 - f(s.lr * s.weightDecay))
  const size = f(s.lr / s.correction1)
  const root = f(1 / f(Math.sqrt(s.correction2)))
  const scaled = f(g * s.gradScale)
  const m1 = f(m + f(f(1 - s.beta1) * f(scaled - m)))
  const v1 = f(f(s.beta2 * v) + f(f(1 - s.beta2) * f(scaled * scaled)))
  const p1 = f(f(p * decay) - f(f(size * m1) / f(f(f(Math.sqrt(v1)) * root) + s.eps)))
  return [p1, m1, v1, f(ema + f(s.emaWeight * f(p1 - ema)))]
}
