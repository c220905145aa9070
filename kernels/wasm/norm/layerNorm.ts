/**
 * Layer norm (Ba et al., arXiv:1607.06450) of rows, y = (x − μ)·rstd·w + b with rstd = 1 / √(σ² + eps), and its
 * gradient: with x̂ = (x − μ)·rstd, g = dy·w and ⟨·⟩ a row's mean, dx = rstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩). Uncentred, as RMS
 * norm (Zhang and Sennrich, arXiv:1910.07467), μ and ⟨g⟩ are 0. An item is one row; variances are of centred values,
 * whose own mean is what μ is off by.
 */
import { type Code, f32, f32x4, i32, type Local, loopRange, set } from '../core/assembler.ts'
import type { LayerNormGradDescriptor, LayerNormDescriptor } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, squareRoot, Uniform } from '../core/lanes.ts'
import { RowFold, Rows, walkRow } from './rows.ts'
import type { RowStep } from './rows.ts'
import { ScratchAreas } from '../core/scratch.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Inputs x, weight and bias [length]; outputs y, mean (zeros if not centred) and rstd [rows]. */
export function layerNormKernel({ rows, length, centred, x, y, eps }: LayerNormDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const [input, output] = [new Rows(args, areas, 0, x, length), new Rows(args, areas, 3, y, length)]
  const [weight, bias, means, rstds] = [args.buffer(1), args.buffer(2), args.buffer(4), args.buffer(5)]
  const [sumSpill, squaresSpill, restSpill] = [areas.area(RowFold.spillBytes), areas.area(RowFold.spillBytes), areas.area(RowFold.spillBytes)]
  const [count, size, added] = [args.number(length), args.float(length), args.float(eps)]
  return {
    key: `layerNorm ${centred}${input.contiguous}${output.contiguous}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 8 * rows * length,
    bytes: 8 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [item, from, to] = [f.local('i32'), f.local('i32'), f.local('i32')]
      const [mean, rstd, shift, off] = [new Uniform(f), new Uniform(f), new Uniform(f), f.local('f32')]
      const [sum, squares, rest] = [new RowFold(f, sumSpill, 'sum'), new RowFold(f, squaresSpill, 'sum'), new RowFold(f, restSpill, 'sum')]
      const average = ({ total }: RowFold): Code => f32.div(total, f32.reinterpretI32(size))
      const statistic = (array: Local): Code => i32.add(array, i32.shl(item, 2))
      const normal = (value: Code, { vectors }: RowStep): Code => (centred ? lanes.madd(value, rstd.of(vectors), shift.of(vectors)) : f32x4.mul(value, rstd.of(vectors)))
      const code = [
        areas.prologue(),
        loopRange(item, begin, end, 1, [
          input.room(item, from), output.room(item, to), input.read(f, item, count),
          centred ? walkRow(f, lanes, [from], count, [sum], (step) => range(step.vectors).map((u) => sum.add(step, u, step.load(0, u)))) : [],
          mean.set(centred ? average(sum) : f32.const(0)),
          walkRow(f, lanes, [from], count, centred ? [squares, rest] : [squares], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, f32x4.sub(step.load(0, u), mean.of(step.vectors)))),
              values.map((value, u) => { const local = squares.accumulator(step, u); return set(local, lanes.madd(value, value, local)) }),
              centred ? values.map((value, u) => rest.add(step, u, value)) : [],
            ]
          }),
          centred ? set(off, average(rest)) : [],
          rstd.set(f32.div(1, squareRoot(f32.add(f32.max(f32.sub(average(squares), f32.mul(off, off)), 0), f32.reinterpretI32(added))))),
          centred ? shift.set(f32.mul(f32.neg(off), rstd.number)) : [],
          f32.store(statistic(means), f32.add(mean.number, off)), f32.store(statistic(rstds), rstd.number),
          walkRow(f, lanes, [from, weight, bias, to], count, [], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, lanes.madd(normal(f32x4.sub(step.load(0, u), mean.of(step.vectors)), step), step.load(1, u), step.load(2, u)))),
              values.map((value, u) => step.store(3, u, value)),
            ]
          }),
          output.write(f, item, count),
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}

/** Inputs dy, x, weight [length], mean and rstd [rows]; output dx. */
export function layerNormGradKernel({ rows, length, centred, dy, x, dx }: LayerNormGradDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const [upstream, input, output] = [new Rows(args, areas, 0, dy, length), new Rows(args, areas, 1, x, length), new Rows(args, areas, 5, dx, length)]
  const [weight, means, rstds] = [args.buffer(2), args.buffer(3), args.buffer(4)]
  const [sumSpill, productSpill] = [areas.area(RowFold.spillBytes), areas.area(RowFold.spillBytes)]
  const [count, size] = [args.number(length), args.float(length)]
  return {
    key: `layerNormGrad ${centred}${upstream.contiguous}${input.contiguous}${output.contiguous}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 12 * rows * length,
    bytes: 12 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [item, g, from, to] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
      const [mean, rstd, first, second] = [new Uniform(f), new Uniform(f), new Uniform(f), new Uniform(f)]
      const [sum, products] = [new RowFold(f, sumSpill, 'sum'), new RowFold(f, productSpill, 'sum')]
      const average = ({ total }: RowFold): Code => f32.div(total, f32.reinterpretI32(size))
      const statistic = (array: Local): Code => f32.load(i32.add(array, i32.shl(item, 2)))
      const code = [
        areas.prologue(),
        loopRange(item, begin, end, 1, [
          upstream.room(item, g), input.room(item, from), output.room(item, to), upstream.read(f, item, count), input.read(f, item, count),
          mean.set(statistic(means)), rstd.set(statistic(rstds)),
          walkRow(f, lanes, [g, from, weight], count, centred ? [sum, products] : [products], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, f32x4.mul(step.load(0, u), step.load(2, u)))),
              centred ? values.map((value, u) => sum.add(step, u, value)) : [],
              values.map((value, u) => { const local = products.accumulator(step, u); return set(local, lanes.madd(value, f32x4.sub(step.load(1, u), mean.of(step.vectors)), local)) }),
            ]
          }),
          // dx = rstd·(g − ⟨g⟩) − (x − μ)·rstd³·⟨g·(x − μ)⟩
          centred ? first.set(f32.mul(rstd.number, average(sum))) : [],
          second.set(f32.mul(f32.mul(f32.mul(rstd.number, rstd.number), rstd.number), average(products))),
          walkRow(f, lanes, [g, from, weight, to], count, [], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, lanes.madd(f32x4.mul(step.load(0, u), step.load(2, u)), rstd.of(step.vectors), f32x4.mul(f32x4.sub(mean.of(step.vectors), step.load(1, u)), second.of(step.vectors))))),
              centred ? values.map((value) => set(value, f32x4.sub(value, first.of(step.vectors)))) : [],
              values.map((value, u) => step.store(3, u, value)),
            ]
          }),
          output.write(f, item, count),
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}
