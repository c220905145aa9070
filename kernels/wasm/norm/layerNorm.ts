/**
 * Layer norm (Ba et al., arXiv:1607.06450) of rows, y = (x − μ)·rstd·w + b with rstd = 1 / √(σ² + eps), and its
 * gradient: with x̂ = (x − μ)·rstd, g = dy·w and ⟨·⟩ a row's mean, dx = rstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩). Uncentred, as RMS
 * norm (Zhang and Sennrich, arXiv:1910.07467), μ and ⟨g⟩ are 0. An item is one row; variances are of centred values,
 * whose own mean is what μ is off by.
 */
import { type Code, f32, f32x4, set } from '../core/assembler.ts'
import type { LayerNormGradDescriptor, LayerNormDescriptor } from '../../ir/descriptor.ts'
import { Arguments } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { squareRoot, Uniform } from '../core/lanes.ts'
import { rowKernel, type RowStep } from './rows.ts'

/** Inputs x, weight and bias [length]; outputs y, mean (zeros if not centred) and rstd [rows]. */
export function layerNormKernel({ rows, length, centred, x, y, eps }: LayerNormDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const [weight, bias, means, rstds, added] = [args.buffer(1), args.buffer(2), args.buffer(4), args.buffer(5), args.float(eps)]
  return rowKernel(args, { name: `layerNorm ${centred}`, rows, length, operands: [[0, x], [3, y]], flops: 8 }, target, ({ f, lanes, fold, walk, average, ofRow }) => {
    const [mean, rstd, shift, off] = [new Uniform(f), new Uniform(f), new Uniform(f), f.local('f32')]
    const [sum, squares, rest] = [fold('sum'), fold('sum'), fold('sum')]
    const normal = (value: Code, { vectors }: RowStep): Code => (centred ? lanes.madd(value, rstd.of(vectors), shift.of(vectors)) : f32x4.mul(value, rstd.of(vectors)))
    return [
      centred ? walk([0], [sum], (step) => step.values.map((_, u) => sum.add(step, u, step.load(0, u)))) : [],
      mean.set(centred ? average(sum) : f32.const(0)),
      walk([0], centred ? [squares, rest] : [squares], (step) => [
        step.values.map((value, u) => set(value, f32x4.sub(step.load(0, u), mean.of(step.vectors)))),
        step.values.map((value, u) => squares.addProduct(step, u, value, value)),
        centred ? step.values.map((value, u) => rest.add(step, u, value)) : [],
      ]),
      centred ? set(off, average(rest)) : [],
      rstd.set(f32.div(1, squareRoot(f32.add(f32.max(f32.sub(average(squares), f32.mul(off, off)), 0), f32.reinterpretI32(added))))),
      centred ? shift.set(f32.mul(f32.neg(off), rstd.number)) : [],
      f32.store(ofRow(means), f32.add(mean.number, off)), f32.store(ofRow(rstds), rstd.number),
      walk([0, weight, bias, 1], [], (step) => [
        step.values.map((value, u) => set(value, lanes.madd(normal(f32x4.sub(step.load(0, u), mean.of(step.vectors)), step), step.load(1, u), step.load(2, u)))),
        step.values.map((value, u) => step.store(3, u, value)),
      ]),
    ]
  })
}

/** Inputs dy, x, weight [length], mean and rstd [rows]; output dx. */
export function layerNormGradKernel({ rows, length, centred, dy, x, dx }: LayerNormGradDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const [weight, means, rstds] = [args.buffer(2), args.buffer(3), args.buffer(4)]
  return rowKernel(args, { name: `layerNormGrad ${centred}`, rows, length, operands: [[0, dy], [1, x], [5, dx]], flops: 12 }, target, ({ f, lanes, fold, walk, average, ofRow }) => {
    const [mean, rstd, first, second] = [new Uniform(f), new Uniform(f), new Uniform(f), new Uniform(f)]
    const [sum, products] = [fold('sum'), fold('sum')]
    return [
      mean.set(f32.load(ofRow(means))), rstd.set(f32.load(ofRow(rstds))),
      walk([0, 1, weight], centred ? [sum, products] : [products], (step) => [
        step.values.map((value, u) => set(value, f32x4.mul(step.load(0, u), step.load(2, u)))),
        centred ? step.values.map((value, u) => sum.add(step, u, value)) : [],
        step.values.map((value, u) => products.addProduct(step, u, value, f32x4.sub(step.load(1, u), mean.of(step.vectors)))),
      ]),
      // dx = rstd·(g − ⟨g⟩) − (x − μ)·rstd³·⟨g·(x − μ)⟩
      centred ? first.set(f32.mul(rstd.number, average(sum))) : [],
      second.set(f32.mul(f32.mul(f32.mul(rstd.number, rstd.number), rstd.number), average(products))),
      walk([0, 1, weight, 2], [], (step) => [
        step.values.map((value, u) => set(value, lanes.madd(f32x4.mul(step.load(0, u), step.load(2, u)), rstd.of(step.vectors), f32x4.mul(f32x4.sub(mean.of(step.vectors), step.load(1, u)), second.of(step.vectors))))),
        centred ? step.values.map((value) => set(value, f32x4.sub(value, first.of(step.vectors)))) : [],
        step.values.map((value, u) => step.store(3, u, value)),
      ]),
    ]
  })
}
