/** The primitives that devices have hand-written kernels for: how operands must lie, and what the generators are told. */
import { index } from '../../../kernels/ir/expression.ts'
import type { PrimitiveDescriptors, ProductDescriptors } from '../../../kernels/ir/descriptor.ts'
import type { StorageType } from '../../../kernels/ir/expression.ts'
import { permuteView } from '../../compile/view.ts'
import type { DType } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import { at } from '../../shape.ts'
import { conv, convInputGrad, convWeightGrad } from './conv.ts'
import { storageType } from './generated.ts'
import { all, axisLast, factors, known, packed, rowSizes, rows, rowsAlongAxis, strided } from './layouts.ts'
import type { Rules } from './rule.ts'

/** The scheduler widens bf16 and f16 operands before they get here. */
const widened = (dtype: DType): StorageType => (dtype === 'bf16' || dtype === 'f16' ? 'f32' : storageType(dtype))

/** The types that hand-written kernels count in; the scheduler widens the others. */
function numberType(dtype: DType): 'f32' | 'i32' | 'u32' {
  if (dtype === 'f32' || dtype === 'i32' || dtype === 'u32') return dtype
  throw new DTypeError(`this kernel has no ${dtype}; cast to f32 or i32`)
}

export const productRules: Rules<ProductDescriptors> = {
  matmul: {
    layouts: (step) => ({ ...strided(step), outputs: ['any'], epilogue: true }),
    halves: factors,
    describe({ inputs: [a, b], outputs: [y], packed: panels }) {
      const [left, right, out] = [known(a), known(b), known(y)]
      const [m = 0, k = 0] = left.shape.slice(-2)
      return { batch: left.shape.slice(0, -2), m, k, n: at(right.shape, right.shape.length - 1), a: all(left), b: all(right), out: all(out), packed: panels }
    },
  },
  conv,
  convInputGrad,
}

export const primitiveRules: Rules<PrimitiveDescriptors> = {
  convWeightGrad,
  iota: {
    layouts: packed,
    describe: ({ outputs: [y] }) => ({ shape: y?.shape ?? [], inputs: [], outputs: [{ operand: { dtype: 'i32', strides: [1], offset: 0 }, value: index(0) }] }),
  },
  gather: {
    layouts: strided,
    halves: () => ({ inputs: [0], outputs: [0] }),
    describe({ inputs: [x, index], outputs: [out], step, type }) {
      const { axis } = step.attributes as { axis: number }
      const [from, where, to] = [known(x), known(index), known(out)]
      return { shape: to.shape, axis, extent: at(from.shape, axis), x: all(from), index: all(where), out: all(to), dtype: type === 'f16' ? type : widened(at(step.outputs, 0).spec.dtype) }
    },
  },
  scatterAdd: {
    layouts: strided,
    describe({ inputs: [x, index, src], outputs: [y], step }) {
      const { axis } = step.attributes as { axis: number }
      const [from, where, added, to] = [known(x), known(index), known(src), known(y)]
      return { shape: where.shape, axis, extent: at(from.shape, axis), x: all(from), index: all(where), src: all(added), y: all(to), dtype: numberType(widened(at(step.outputs, 0).spec.dtype)) }
    },
  },
  // The scanned axis last.
  cumsum: {
    layouts: strided,
    describe({ inputs: [x], outputs: [y], step }) {
      const { axis, reverse } = step.attributes as { axis: number; reverse: boolean }
      const order = axisLast(known(x).shape, axis)
      const [from, to] = [permuteView(known(x), order), permuteView(known(y), order)]
      return { shape: from.shape, x: all(from), y: all(to), reverse, dtype: numberType(widened(at(step.outputs, 0).spec.dtype)) }
    },
  },
  argsort: {
    layouts: rowsAlongAxis,
    describe({ inputs: [x], outputs: [y], step }) {
      const { axis, descending } = step.attributes as { axis: number; descending: boolean }
      const [from, to] = [known(x), known(y)]
      return { ...rowSizes(from, axis), dtype: numberType(widened(at(step.inputs, 0).spec.dtype)), descending, x: rows(from, axis), y: rows(to, axis) }
    },
  },
  randomBits: {
    layouts: packed,
    describe: ({ outputs: [bits] }) => ({ rows: at(known(bits).shape, 0), length: at(known(bits).shape, 1) }),
  },
}
