/** Contractions on the reference device: the sums as they are written, in float64. */
import type { InputGradWindow, WeightGradWindow, Window } from '../../ops/conv.ts'
import { at, contiguousStrides, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import { floats, pair, positions } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { rounded } from './values.ts'

// Inner loops call what is in this file and sees one kind of array each: compilers inline that.
function real(values: Float64Array, i: number): number {
  return values[i] ?? outside(i, values)
}
function index(values: Int32Array, i: number): number {
  return values[i] ?? outside(i, values)
}
function outside(i: number, { length }: ArrayLike<number>): never {
  throw new RangeError(`element ${i} of ${length}`)
}

/** Y[b,m,n] = Σₖ A[b,m,k] · B[b,k,n]. */
const matmul: Kernel = (inputs, _, output) => {
  const [a, b] = pair(inputs)
  const [m, k, n] = [at(a.spec.shape, a.spec.shape.length - 2), at(b.spec.shape, b.spec.shape.length - 2), at(b.spec.shape, b.spec.shape.length - 1)]
  const [left, right, y] = [floats(a), floats(b), new Float64Array(sizeOf(output.shape))]
  const rows = n === 0 ? 0 : y.length / n // Those of all batches.
  for (let row = 0; row < rows; row++) {
    const batch = Math.floor(row / m)
    for (let j = 0; j < k; j++) {
      const factor = real(left, row * k + j)
      for (let column = 0; column < n; column++) y[row * n + column] = real(y, row * n + column) + factor * real(right, (batch * k + j) * n + column)
    }
  }
  return rounded(y, output)
}

/**
 * Which pixels each position k of a kernel joins: for start[k] ≤ i < start[k + 1], output pixel p[i] and the input pixel
 * q[i] = p·stride + k·dilation − padding, where that is inside the input.
 */
interface Taps {
  readonly start: Int32Array
  readonly p: Int32Array
  readonly q: Int32Array
}

function tapsOf(input: Shape, kernel: Shape, output: Shape, { stride, dilation, padding }: Window): Taps {
  const strides = contiguousStrides(input)
  const [start, p, q]: [number[], number[], number[]] = [[0], [], []]
  for (const k of positions(kernel)) {
    let pixel = 0
    for (const position of positions(output)) {
      const source = position.map((pᵢ, i) => pᵢ * at(stride, i) + at(k, i) * at(dilation, i) - at(padding, i))
      if (source.every((qᵢ, i) => qᵢ >= 0 && qᵢ < at(input, i))) {
        p.push(pixel)
        q.push(source.reduce((sum, qᵢ, i) => sum + qᵢ * at(strides, i), 0))
      }
      pixel++
    }
    start.push(p.length)
  }
  return { start: Int32Array.from(start), p: Int32Array.from(p), q: Int32Array.from(q) }
}

/** Where the first weight of an output and an input channel lies, and the first pixels of both channels in one sample. */
type Visit = (weights: number, image: number, result: number) => void

/** Visits the pairs of channels in Σ dy[n,o,p] · w[o,c,k] · x[n, g·C+c, q]; C channels in each group g. */
function channelPairs(x: Shape, w: Shape, y: Shape, groups: number, visit: Visit): void {
  const [samples, channels, outputs, perGroup] = [at(x, 0), at(x, 1), at(w, 0), at(w, 1)]
  const [pixels, taps, resultPixels] = [sizeOf(x.slice(2)), sizeOf(w.slice(2)), sizeOf(y.slice(2))]
  for (let n = 0; n < samples; n++) {
    for (let o = 0; o < outputs; o++) {
      const first = Math.floor(o / (outputs / groups)) * perGroup
      for (let c = 0; c < perGroup; c++) visit((o * perGroup + c) * taps, (n * channels + first + c) * pixels, (n * outputs + o) * resultPixels)
    }
  }
}

const conv: Kernel<Window> = (inputs, window, output) => {
  const [x, w] = pair(inputs)
  const [xs, ws, ys] = [floats(x), floats(w), new Float64Array(sizeOf(output.shape))]
  const { start, p, q } = tapsOf(x.spec.shape.slice(2), w.spec.shape.slice(2), output.shape.slice(2), window)
  channelPairs(x.spec.shape, w.spec.shape, output.shape, window.groups, (weights, image, result) => {
    for (let k = 0; k + 1 < start.length; k++) {
      const [factor, end] = [real(ws, weights + k), index(start, k + 1)]
      for (let i = index(start, k); i < end; i++) {
        const to = result + index(p, i)
        ys[to] = real(ys, to) + factor * real(xs, image + index(q, i))
      }
    }
  })
  return rounded(ys, output)
}

const convInputGrad: Kernel<InputGradWindow> = (inputs, window, output) => {
  const [dy, w] = pair(inputs)
  const [dys, ws, dxs] = [floats(dy), floats(w), new Float64Array(sizeOf(output.shape))]
  const { start, p, q } = tapsOf(output.shape.slice(2), w.spec.shape.slice(2), dy.spec.shape.slice(2), window)
  channelPairs(output.shape, w.spec.shape, dy.spec.shape, window.groups, (weights, image, result) => {
    for (let k = 0; k + 1 < start.length; k++) {
      const [factor, end] = [real(ws, weights + k), index(start, k + 1)]
      for (let i = index(start, k); i < end; i++) {
        const to = image + index(q, i)
        dxs[to] = real(dxs, to) + factor * real(dys, result + index(p, i))
      }
    }
  })
  return rounded(dxs, output)
}

const convWeightGrad: Kernel<WeightGradWindow> = (inputs, window, output) => {
  const [x, dy] = pair(inputs)
  const [xs, dys, dws] = [floats(x), floats(dy), new Float64Array(sizeOf(output.shape))]
  const { start, p, q } = tapsOf(x.spec.shape.slice(2), output.shape.slice(2), dy.spec.shape.slice(2), window)
  channelPairs(x.spec.shape, output.shape, dy.spec.shape, window.groups, (weights, image, result) => {
    for (let k = 0; k + 1 < start.length; k++) {
      const end = index(start, k + 1)
      let sum = real(dws, weights + k)
      for (let i = index(start, k); i < end; i++) sum += real(xs, image + index(q, i)) * real(dys, result + index(p, i))
      dws[weights + k] = sum
    }
  })
  return rounded(dws, output)
}

export const contractKernels: Readonly<Record<'matmul' | 'conv' | 'convInputGrad' | 'convWeightGrad', Kernel>> = { matmul, conv, convInputGrad, convWeightGrad }
