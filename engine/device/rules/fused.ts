/** The fused ops that devices may have kernels for. Their decompositions remain what they mean. */
import type { AttentionDescriptor, AttentionGradDescriptor, AttentionSizes, GroupNormDescriptor, GroupNormGradDescriptor, LayerNormDescriptor, LayerNormGradDescriptor, SoftmaxDescriptor, SoftmaxGradDescriptor, Strided } from '../../../kernels/ir/descriptor.ts'
import type { AttentionAttributes } from '../../ops/attention.ts'
import type { GroupNormAttributes } from '../../ops/groupNorm.ts'
import type { LayerNormAttributes } from '../../ops/norm.ts'
import { isPacked } from '../../compile/view.ts'
import type { View } from '../../compile/view.ts'
import { rowMajor } from '../../compile/order.ts'
import { at, sizeOf } from '../../shape.ts'
import { all, alongAxis, channelsLast, grouped, isRowMajor, known, orderKeepingLast, packed, rowSizes, rows, rowsAlongAxis } from './layouts.ts'
import type { FloatType } from '../../../kernels/ir/expression.ts'
import type { FusedGenerators } from './generators.ts'
import type { KernelRule, Operands } from './rule.ts'

type Generate<Descriptor, K> = (d: Descriptor, type: FloatType) => K

/** [N, C, …] as sample, channel and position; the positions lie evenly in either layout. */
const plane = (view: View): Strided => grouped(view, [0], [1], view.shape.slice(2).map((_, i) => i + 2))

/** Channels last, unless x already lies row-major. */
const planeOrder = (x: View): readonly number[] => (isRowMajor(x) && !isPacked(x, channelsLast(x.shape)) ? rowMajor(x.shape) : channelsLast(x.shape))

const planeSizes = (x: View, groups: number): { batch: number; channels: number; groups: number; spatial: number } => ({ batch: at(x.shape, 0), channels: at(x.shape, 1), groups, spatial: sizeOf(x.shape.slice(2)) })

const groupNorm = <K>(generate: Generate<GroupNormDescriptor, K>): KernelRule<K> => ({
  layouts(_, [x]) {
    const order = x === undefined ? [] : planeOrder(x)
    return { inputs: [order, [0], [0]], outputs: [order, [0, 1], [0, 1]] }
  },
  halves: () => ({ inputs: [0], outputs: [0] }),
  kernel({ inputs: [x], outputs: [y], step, type }) {
    const { groups, eps, silu } = step.attributes as GroupNormAttributes
    return generate({ ...planeSizes(known(x), groups), x: plane(known(x)), y: plane(known(y)), eps, silu }, type)
  },
})

const groupNormGrad = <K>(generate: Generate<GroupNormGradDescriptor, K>): KernelRule<K> => ({
  layouts(_, [, x]) {
    const order = x === undefined ? [] : planeOrder(x)
    return { inputs: [order, order, [0], [0], [0, 1], [0, 1]], outputs: [order, [0, 1], [0, 1]] }
  },
  halves: () => ({ inputs: [0, 1], outputs: [0] }),
  kernel({ inputs: [dy, x], outputs: [dx], step, type }) {
    const { groups, silu } = step.attributes as GroupNormAttributes
    return generate({ ...planeSizes(known(x), groups), dy: plane(known(dy)), x: plane(known(x)), dx: plane(known(dx)), silu }, type)
  },
})

const layerNorm = <K>(generate: Generate<LayerNormDescriptor, K>): KernelRule<K> => ({
  layouts: packed,
  halves: () => ({ inputs: [0], outputs: [0] }),
  kernel({ inputs: [x], outputs: [y], step, type }) {
    return generate({ ...rowSizes(known(x), 1), ...(step.attributes as LayerNormAttributes), x: rows(known(x), 1), y: rows(known(y), 1) }, type)
  },
})

const layerNormGrad = <K>(generate: Generate<LayerNormGradDescriptor, K>): KernelRule<K> => ({
  layouts: packed,
  halves: () => ({ inputs: [0, 1], outputs: [0] }),
  kernel({ inputs: [dy, x], outputs: [dx], step, type }) {
    const { centred } = step.attributes as LayerNormAttributes
    return generate({ ...rowSizes(known(x), 1), centred, dy: rows(known(dy), 1), x: rows(known(x), 1), dx: rows(known(dx), 1) }, type)
  },
})

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

const attention = <K>(generate: Generate<AttentionDescriptor, K>, widest = Infinity): KernelRule<K> => ({
  accepts: ([, , v]) => (v?.shape.at(-1) ?? 0) <= widest,
  layouts: (step, inputs) => ({
    inputs: inputs.map(() => 'any'),
    outputs: step.outputs.map((v, i) => (i === 0 ? orderKeepingLast(known(inputs[0])) : rowMajor(v.spec.shape))),
  }),
  operands: (inputs, outputs) => [...maskFirst(inputs, 5), ...outputs],
  halves: ({ inputs }) => ({ inputs: [...inputs.keys()].filter((i) => i !== 3), outputs: [0] }),
  kernel(operands) {
    return generate({ ...attentionSizes(operands, operands.inputs.length === 5), out: all(known(operands.outputs[0])) }, operands.type)
  },
})

const attentionGrad = <K>(generate: Generate<AttentionGradDescriptor, K>, widest = Infinity): KernelRule<K> => ({
  accepts: ([q, , v]) => [q, v].every((x) => (x?.shape.at(-1) ?? 0) <= widest),
  layouts: (_, inputs) => ({
    // lse, the last but one, is read row by row.
    inputs: inputs.map((x, i) => (i === inputs.length - 2 ? rowMajor(x.shape) : 'any')),
    outputs: inputs.slice(0, 3).map(orderKeepingLast),
  }),
  operands: (inputs, outputs) => [...maskFirst(inputs, 8), ...outputs],
  halves: ({ inputs }) => ({ inputs: [...inputs.keys()].filter((i) => i !== 3 && i !== inputs.length - 2), outputs: [0, 1, 2] }),
  kernel(operands) {
    const { inputs, outputs } = operands
    const [dq, dk, dv] = outputs
    return generate({ ...attentionSizes(operands, inputs.length === 8), out: all(known(inputs.at(-3))), dout: all(known(inputs.at(-1))), dq: all(known(dq)), dk: all(known(dk)), dv: all(known(dv)) }, operands.type)
  },
})

const softmax = <K>(generate: Generate<SoftmaxDescriptor, K>): KernelRule<K> => ({
  layouts: (step) => rowsAlongAxis(step),
  halves: () => ({ inputs: [0], outputs: [0] }),
  kernel({ inputs: [x], outputs: [y], step, type }) {
    const axis = alongAxis(step)
    return generate({ ...rowSizes(known(x), axis), x: rows(known(x), axis), y: rows(known(y), axis) }, type)
  },
})

const softmaxGrad = <K>(generate: Generate<SoftmaxGradDescriptor, K>): KernelRule<K> => ({
  layouts: (step) => rowsAlongAxis(step),
  halves: () => ({ inputs: [0, 1], outputs: [0] }),
  kernel({ inputs: [y, dy], outputs: [dx], step, type }) {
    const axis = alongAxis(step)
    return generate({ ...rowSizes(known(y), axis), y: rows(known(y), axis), dy: rows(known(dy), axis), dx: rows(known(dx), axis) }, type)
  },
})

/** Rules for the fused ops that there are generators for. */
export function fusedRules<K>(g: FusedGenerators<K>): Readonly<Record<string, KernelRule<K> | undefined>> {
  return {
    groupNorm: g.groupNorm && groupNorm(g.groupNorm),
    groupNormGrad: g.groupNormGrad && groupNormGrad(g.groupNormGrad),
    layerNorm: g.layerNorm && layerNorm(g.layerNorm),
    layerNormGrad: g.layerNormGrad && layerNormGrad(g.layerNormGrad),
    softmax: g.softmax && softmax(g.softmax),
    softmaxGrad: g.softmaxGrad && softmaxGrad(g.softmaxGrad),
    attention: g.attention && attention(g.attention, g.widestHead),
    attentionGrad: g.attentionGrad && attentionGrad(g.attentionGrad, g.widestHead),
  }
}
