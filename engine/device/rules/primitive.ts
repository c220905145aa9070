/** The primitives that devices have hand-written kernels for: how operands must lie, and what the generators are told. */
import { index } from '../../../kernels/ir/expression.ts'
import type { MatmulDescriptor } from '../../../kernels/ir/descriptor.ts'
import type { StorageType } from '../../../kernels/ir/expression.ts'
import type { Step } from '../../compile/lower.ts'
import { permuteView } from '../../compile/view.ts'
import type { DType } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import { at } from '../../shape.ts'
import { conv, convInputGrad, convWeightGrad } from './conv.ts'
import { storageType } from './generated.ts'
import { all, axisLast, factors, known, packed, rowSizes, rows, rowsAlongAxis, strided } from './layouts.ts'
import type { PrimitiveGenerators } from './generators.ts'
import type { HandWritten, KernelRule, Operands } from './rule.ts'

const iota = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: packed,
  kernel: ({ outputs: [y] }) => generate.map({ shape: y?.shape ?? [], inputs: [], outputs: [{ operand: { dtype: 'i32', strides: [1], offset: 0 }, value: index(0) }] }, [0]),
})

const gather = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: strided,
  halves: () => ({ inputs: [0], outputs: [0] }),
  kernel({ inputs: [x, index], outputs: [out], step, type }) {
    const { axis } = step.attributes as { axis: number }
    const [from, where, to] = [known(x), known(index), known(out)]
    return generate.gather({ shape: to.shape, axis, extent: at(from.shape, axis), x: all(from), index: all(where), out: all(to), dtype: type === 'f16' ? type : widened(outputOf(step).dtype) })
  },
})

const matmul = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: (step) => ({ ...strided(step), outputs: ['any'], epilogue: true }),
  halves: factors,
  kernel: (operands) => generate.matmul(productOf(operands), operands.epilogue, { factors: operands.type, output: operands.outputType }),
  packing: (operands) => generate.packMatmul?.(productOf(operands)),
})

function productOf({ inputs: [a, b], outputs: [y], packed: panels }: Operands): MatmulDescriptor {
  const [left, right, out] = [known(a), known(b), known(y)]
  const [m = 0, k = 0] = left.shape.slice(-2)
  return { batch: left.shape.slice(0, -2), m, k, n: at(right.shape, right.shape.length - 1), a: all(left), b: all(right), out: all(out), packed: panels }
}

const scatterAdd = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: strided,
  kernel({ inputs: [x, index, src], outputs: [y], step }) {
    const { axis } = step.attributes as { axis: number }
    const [from, where, added, to] = [known(x), known(index), known(src), known(y)]
    return generate.scatterAdd({ shape: where.shape, axis, extent: at(from.shape, axis), x: all(from), index: all(where), src: all(added), y: all(to), dtype: numberType(widened(outputOf(step).dtype)) })
  },
})

/** The scanned axis last. */
const cumsum = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: strided,
  kernel({ inputs: [x], outputs: [y], step }) {
    const { axis, reverse } = step.attributes as { axis: number; reverse: boolean }
    const order = axisLast(known(x).shape, axis)
    const [from, to] = [permuteView(known(x), order), permuteView(known(y), order)]
    return generate.cumsum({ shape: from.shape, x: all(from), y: all(to), reverse, dtype: numberType(widened(outputOf(step).dtype)) })
  },
})

const argsort = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: rowsAlongAxis,
  kernel({ inputs: [x], outputs: [y], step }) {
    const { axis, descending } = step.attributes as { axis: number; descending: boolean }
    const [from, to] = [known(x), known(y)]
    const [input] = step.inputs
    return generate.argsort({ ...rowSizes(from, axis), dtype: numberType(widened(input?.spec.dtype ?? 'f32')), descending, x: rows(from, axis), y: rows(to, axis) })
  },
})

const randomBits = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: packed,
  kernel: ({ outputs: [bits] }) => generate.randomBits({ rows: at(known(bits).shape, 0), length: at(known(bits).shape, 1) }),
})

/** The scheduler widens bf16 and f16 operands before they get here. */
const widened = (dtype: DType): StorageType => (dtype === 'bf16' || dtype === 'f16' ? 'f32' : storageType(dtype))

/** The types that hand-written kernels count in; the scheduler widens the others. */
function numberType(dtype: DType): 'f32' | 'i32' | 'u32' {
  if (dtype === 'f32' || dtype === 'i32' || dtype === 'u32') return dtype
  throw new DTypeError(`this kernel has no ${dtype}; cast to f32 or i32`)
}

export function primitiveRules<K>(generate: PrimitiveGenerators<K>): Readonly<Record<HandWritten, KernelRule<K>>> {
  return {
    iota: iota(generate), matmul: matmul(generate), conv: conv(generate), convInputGrad: convInputGrad(generate), convWeightGrad: convWeightGrad(generate),
    gather: gather(generate), scatterAdd: scatterAdd(generate), cumsum: cumsum(generate), argsort: argsort(generate), randomBits: randomBits(generate),
  }
}

function outputOf({ outputs: [output] }: Step): Spec {
  if (output === undefined) throw new RangeError('a step has an output')
  return output.spec
}
