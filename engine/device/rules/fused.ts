/** The fused ops that devices may have kernels for. Their decompositions remain what they mean. */
import type { AttentionSizes, FusedDescriptors, Strided } from '../../../kernels/ir/descriptor.ts'
import type { AttentionAttributes } from '../../ops/attention.ts'
import type { GroupNormAttributes } from '../../ops/groupNorm.ts'
import type { LayerNormAttributes } from '../../ops/norm.ts'
import { isPacked } from '../../compile/view.ts'
import type { View } from '../../compile/view.ts'
import { rowMajor } from '../../compile/order.ts'
import { at, sizeOf } from '../../shape.ts'
import { all, alongAxis, channelsLast, grouped, isRowMajor, known, orderKeepingLast, packed, rowSizes, rows, rowsAlongAxis } from './layouts.ts'
import type { Operands, Rules } from './rule.ts'

/** [N, C, …] as sample, channel and position; the positions lie evenly in either layout. */
const plane = (view: View): Strided => grouped(view, [0], [1], view.shape.slice(2).map((_, i) => i + 2))

/** Channels last, unless x already lies row-major. */
const planeOrder = (x: View): readonly number[] => (isRowMajor(x) && !isPacked(x, channelsLast(x.shape)) ? rowMajor(x.shape) : channelsLast(x.shape))

const planeSizes = (x: View, groups: number): { batch: number; channels: number; groups: number; spatial: number } => ({ batch: at(x.shape, 0), channels: at(x.shape, 1), groups, spatial: sizeOf(x.shape.slice(2)) })

function attentionSizes({ inputs: [q, k, v, , mask], step }: Operands, masked: boolean): AttentionSizes {
  const [query, key, value] = [known(q), known(k), known(v)]
  const rank = query.shape.length
  const sizes = {
    batch: query.shape.slice(0, -2),
    queries: at(query.shape, rank - 2),
    keys: at(key.shape, rank - 2),
    dim: at(query.shape, rank - 1),
    valueDim: at(value.shape, rank - 1),
    causal: (step.attributes as AttentionAttributes).causal,
    q: all(query),
    k: all(key),
    v: all(value),
  }
  return masked ? { ...sizes, mask: all(known(mask)) } : sizes
}

/** The kernels count the mask before the scale. */
function maskFirst<T>(inputs: readonly T[], masked: number): readonly T[] {
  const [q, k, v, scale, mask, ...rest] = inputs
  return inputs.length !== masked || q === undefined || k === undefined || v === undefined || scale === undefined || mask === undefined ? inputs : [q, k, v, mask, scale, ...rest]
}

export const fusedRules: Rules<FusedDescriptors> = {
  groupNorm: {
    layouts(_, [x]) {
      const order = x === undefined ? [] : planeOrder(x)
      return { inputs: [order, [0], [0]], outputs: [order, [0, 1], [0, 1]] }
    },
    halves: () => ({ inputs: [0], outputs: [0] }),
    describe({ inputs: [x], outputs: [y], step }) {
      const { groups, eps, silu } = step.attributes as GroupNormAttributes
      return { ...planeSizes(known(x), groups), x: plane(known(x)), y: plane(known(y)), eps, silu }
    },
  },
  groupNormGrad: {
    layouts(_, [, x]) {
      const order = x === undefined ? [] : planeOrder(x)
      return { inputs: [order, order, [0], [0], [0, 1], [0, 1]], outputs: [order, [0, 1], [0, 1]] }
    },
    halves: () => ({ inputs: [0, 1], outputs: [0] }),
    describe({ inputs: [dy, x], outputs: [dx], step }) {
      const { groups, silu } = step.attributes as GroupNormAttributes
      return { ...planeSizes(known(x), groups), dy: plane(known(dy)), x: plane(known(x)), dx: plane(known(dx)), silu }
    },
  },
  layerNorm: {
    layouts: packed,
    halves: () => ({ inputs: [0], outputs: [0] }),
    describe: ({ inputs: [x], outputs: [y], step }) => ({ ...rowSizes(known(x), 1), ...(step.attributes as LayerNormAttributes), x: rows(known(x), 1), y: rows(known(y), 1) }),
  },
  layerNormGrad: {
    layouts: packed,
    halves: () => ({ inputs: [0, 1], outputs: [0] }),
    describe({ inputs: [dy, x], outputs: [dx], step }) {
      const { centred } = step.attributes as LayerNormAttributes
      return { ...rowSizes(known(x), 1), centred, dy: rows(known(dy), 1), x: rows(known(x), 1), dx: rows(known(dx), 1) }
    },
  },
  softmax: {
    layouts: rowsAlongAxis,
    halves: () => ({ inputs: [0], outputs: [0] }),
    describe({ inputs: [x], outputs: [y], step }) {
      const axis = alongAxis(step)
      return { ...rowSizes(known(x), axis), x: rows(known(x), axis), y: rows(known(y), axis) }
    },
  },
  softmaxGrad: {
    layouts: rowsAlongAxis,
    halves: () => ({ inputs: [0, 1], outputs: [0] }),
    describe({ inputs: [y, dy], outputs: [dx], step }) {
      const axis = alongAxis(step)
      return { ...rowSizes(known(y), axis), y: rows(known(y), axis), dy: rows(known(dy), axis), dx: rows(known(dx), axis) }
    },
  },
  attention: {
    accepts: ([, , v], _, { widestHead = Infinity }) => (v?.shape.at(-1) ?? 0) <= widestHead,
    layouts: (step, inputs) => ({
      inputs: inputs.map(() => 'any'),
      outputs: step.outputs.map((v, i) => (i === 0 ? orderKeepingLast(known(inputs[0])) : rowMajor(v.spec.shape))),
    }),
    operands: (inputs, outputs) => [...maskFirst(inputs, 5), ...outputs],
    halves: ({ inputs }) => ({ inputs: [...inputs.keys()].filter((i) => i !== 3), outputs: [0] }),
    describe: (operands) => ({ ...attentionSizes(operands, operands.inputs.length === 5), out: all(known(operands.outputs[0])) }),
  },
  attentionGrad: {
    accepts: ([q, , v], _, { widestHead = Infinity }) => [q, v].every((x) => (x?.shape.at(-1) ?? 0) <= widestHead),
    layouts: (_, inputs) => ({
      // lse, the last but one, is read row by row.
      inputs: inputs.map((x, i) => (i === inputs.length - 2 ? rowMajor(x.shape) : 'any')),
      outputs: inputs.slice(0, 3).map(orderKeepingLast),
    }),
    operands: (inputs, outputs) => [...maskFirst(inputs, 8), ...outputs],
    halves: ({ inputs }) => ({ inputs: [...inputs.keys()].filter((i) => i !== 3 && i !== inputs.length - 2), outputs: [0, 1, 2] }),
    describe(operands) {
      const { inputs, outputs: [dq, dk, dv] } = operands
      return { ...attentionSizes(operands, inputs.length === 8), out: all(known(inputs.at(-3))), dout: all(known(inputs.at(-1))), dq: all(known(dq)), dk: all(known(dk)), dv: all(known(dv)) }
    },
  },
}
