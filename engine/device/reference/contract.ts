/** Contractions on the reference device: the sums as they are written, in float64. */
import type { InputGradWindow, WeightGradWindow, Window } from '../../ops/conv.ts'
import { at, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import { element, indexIn, pair, positions } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { fill } from './values.ts'

/** Y[b,m,n] = Σₖ A[b,m,k] · B[b,k,n]. */
const matmul: Kernel = (inputs, _, output) => {
  const [a, b] = pair(inputs)
  const [m, k, n] = [at(a.spec.shape, a.spec.shape.length - 2), at(b.spec.shape, b.spec.shape.length - 2), at(b.spec.shape, b.spec.shape.length - 1)]
  return fill(output, (i) => {
    const [batch, row, column] = [Math.floor(i / (m * n)), Math.floor(i / n) % m, i % n]
    let sum = 0
    for (let j = 0; j < k; j++) sum += element(a.values, (batch * m + row) * k + j) * element(b.values, (batch * k + j) * n + column)
    return sum
  })
}

/** Indices into x, w and y of one term of the trilinear form. */
type Term = (x: number, w: number, y: number) => void

/** Visits Σ dy[n,o,p] · w[o,c,k] · x[n, g·C+c, p·stride + k·dilation − padding] term by term; C channels in each group g. */
function terms(x: Shape, w: Shape, y: Shape, { stride, padding, dilation, groups }: Window, visit: Term): void {
  const [xAt, wAt] = [indexIn(x), indexIn(w)]
  const perGroup = at(w, 1)
  let j = 0
  for (const [n = 0, o = 0, ...p] of positions(y)) {
    const first = Math.floor(o / (at(w, 0) / groups)) * perGroup
    for (let c = 0; c < perGroup; c++) {
      for (const k of positions(w.slice(2))) {
        const q = k.map((kᵢ, i) => at(p, i) * at(stride, i) + kᵢ * at(dilation, i) - at(padding, i))
        if (q.every((qᵢ, i) => qᵢ >= 0 && qᵢ < at(x, i + 2))) visit(xAt([n, first + c, ...q]), wAt([o, c, ...k]), j)
      }
    }
    j++
  }
}

const conv: Kernel<Window> = (inputs, window, output) => {
  const [x, w] = pair(inputs)
  const y = new Float64Array(sizeOf(output.shape))
  terms(x.spec.shape, w.spec.shape, output.shape, window, (i, k, j) => (y[j] = at(y, j) + element(w.values, k) * element(x.values, i)))
  return fill(output, (j) => at(y, j))
}

const convInputGrad: Kernel<InputGradWindow> = (inputs, window, output) => {
  const [dy, w] = pair(inputs)
  const dx = new Float64Array(sizeOf(output.shape))
  terms(output.shape, w.spec.shape, dy.spec.shape, window, (i, k, j) => (dx[i] = at(dx, i) + element(w.values, k) * element(dy.values, j)))
  return fill(output, (i) => at(dx, i))
}

const convWeightGrad: Kernel<WeightGradWindow> = (inputs, window, output) => {
  const [x, dy] = pair(inputs)
  const dw = new Float64Array(sizeOf(output.shape))
  terms(x.spec.shape, output.shape, dy.spec.shape, window, (i, k, j) => (dw[k] = at(dw, k) + element(x.values, i) * element(dy.values, j)))
  return fill(output, (k) => at(dw, k))
}

export const contractKernels: Readonly<Record<'matmul' | 'conv' | 'convInputGrad' | 'convWeightGrad', Kernel>> = { matmul, conv, convInputGrad, convWeightGrad }
