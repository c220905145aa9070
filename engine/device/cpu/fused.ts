/** The fused ops the CPU has kernels for. Their decompositions remain what they mean. */
import { adamwKernel } from '../../../kernels/wasm/adamw.ts'
import { attentionKernel } from '../../../kernels/wasm/attention.ts'
import { attentionGradKernel } from '../../../kernels/wasm/attentionGrad.ts'
import { groupNormKernel } from '../../../kernels/wasm/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wasm/groupNormGrad.ts'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wasm/layerNorm.ts'
import { squaredNormKernel } from '../../../kernels/wasm/squaredNorm.ts'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wasm/softmax.ts'
import type { AttentionSizes, Strided } from '../../../kernels/descriptor.ts'
import type { AttentionAttributes } from '../../ops/attention.ts'
import type { AdamWAttributes } from '../../ops/optimizer.ts'
import type { GroupNormAttributes } from '../../ops/groupNorm.ts'
import type { LayerNormAttributes } from '../../ops/norm.ts'
import { isPacked } from '../../compile/view.ts'
import type { View } from '../../compile/view.ts'
import { rowMajor } from '../../compile/order.ts'
import { at, sizeOf } from '../../shape.ts'
import { all, alongAxis, channelsLast, grouped, isRowMajor, known, orderKeepingLast, packed, rowSizes, rows, rowsAlongAxis } from './layouts.ts'
import type { KernelRule, Operands } from './rule.ts'

/** [N, C, …] as sample, channel and position; the positions lie evenly in either layout. */
const plane = (view: View): Strided => grouped(view, [0], [1], view.shape.slice(2).map((_, i) => i + 2))

/** Channels last, unless x already lies row-major. */
const planeOrder = (x: View): readonly number[] => (isRowMajor(x) && !isPacked(x, channelsLast(x.shape)) ? rowMajor(x.shape) : channelsLast(x.shape))

const planeSizes = (x: View, groups: number): { batch: number; channels: number; groups: number; spatial: number } => ({ batch: at(x.shape, 0), channels: at(x.shape, 1), groups, spatial: sizeOf(x.shape.slice(2)) })

const groupNorm: KernelRule = {
  layouts(_, [x]) {
    const order = x === undefined ? [] : planeOrder(x)
    return { inputs: [order, [0], [0]], outputs: [order, [0, 1], [0, 1]] }
  },
  kernel({ inputs: [x], outputs: [y], step }, target) {
    const { groups, epsilon, silu } = step.attributes as GroupNormAttributes
    return groupNormKernel({ ...planeSizes(known(x), groups), x: plane(known(x)), y: plane(known(y)), epsilon, silu }, target)
  },
}

const groupNormGrad: KernelRule = {
  layouts(_, [, x]) {
    const order = x === undefined ? [] : planeOrder(x)
    return { inputs: [order, order, [0], [0], [0, 1], [0, 1]], outputs: [order, [0, 1], [0, 1]] }
  },
  kernel({ inputs: [dy, x], outputs: [dx], step }, target) {
    const { groups, silu } = step.attributes as GroupNormAttributes
    return groupNormGradKernel({ ...planeSizes(known(x), groups), dy: plane(known(dy)), x: plane(known(x)), dx: plane(known(dx)), silu }, target)
  },
}

const layerNorm: KernelRule = {
  layouts: packed,
  kernel({ inputs: [x], outputs: [y], step }, target) {
    return layerNormKernel({ ...rowSizes(known(x), 1), ...(step.attributes as LayerNormAttributes), x: rows(known(x), 1), y: rows(known(y), 1) }, target)
  },
}

const layerNormGrad: KernelRule = {
  layouts: packed,
  kernel({ inputs: [dy, x], outputs: [dx], step }, target) {
    const { centred } = step.attributes as LayerNormAttributes
    return layerNormGradKernel({ ...rowSizes(known(x), 1), centred, dy: rows(known(dy), 1), x: rows(known(x), 1), dx: rows(known(dx), 1) }, target)
  },
}

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

const attention: KernelRule = {
  layouts: (step, inputs) => ({
    inputs: inputs.map(() => 'any'),
    outputs: step.outputs.map((v, i) => (i === 0 ? orderKeepingLast(known(inputs[0])) : rowMajor(v.spec.shape))),
  }),
  operands: (inputs, outputs) => [...maskFirst(inputs, 5), ...outputs],
  kernel(operands, target) {
    return attentionKernel({ ...attentionSizes(operands, operands.inputs.length === 5), out: all(known(operands.outputs[0])) }, target)
  },
}

const attentionGrad: KernelRule = {
  layouts: (_, inputs) => ({
    // lse, the last but one, is read row by row.
    inputs: inputs.map((x, i) => (i === inputs.length - 2 ? rowMajor(x.shape) : 'any')),
    outputs: inputs.slice(0, 3).map(orderKeepingLast),
  }),
  operands: (inputs, outputs) => [...maskFirst(inputs, 8), ...outputs],
  kernel(operands, target) {
    const { inputs, outputs } = operands
    const [dq, dk, dv] = outputs
    return attentionGradKernel({ ...attentionSizes(operands, inputs.length === 8), out: all(known(inputs.at(-3))), dout: all(known(inputs.at(-1))), dq: all(known(dq)), dk: all(known(dk)), dv: all(known(dv)) }, target)
  },
}

/** The op lists all p, then all g, m, v; the kernel takes them tensor by tensor. */
const adamw: KernelRule = {
  layouts(step) {
    const { count } = step.attributes as AdamWAttributes
    // An output may take the memory of the input it updates: outputs p, m, v (ema) are inputs p, m, v (ema) with g after p.
    const own = (output: number): number => 1 + output + (output < count ? 0 : count)
    const gradient = (output: number): number => 1 + count + (output % count)
    return { ...packed(step), inPlace: (output, input) => input === own(output) || input === gradient(output) }
  },
  kernel: ({ inputs, step }) => {
    const { count, ema } = step.attributes as AdamWAttributes
    return adamwKernel({ sizes: inputs.slice(1, 1 + count).map((v) => sizeOf(v.shape)), ema })
  },
  operands([numbers, ...lists], outputs, step) {
    const { count } = step.attributes as AdamWAttributes
    const byTensor = <T>(list: readonly T[]): T[] => Array.from({ length: count }, (_, i) => list.filter((__, k) => k % count === i)).flat()
    return numbers === undefined ? [] : [numbers, ...byTensor(lists), ...byTensor(outputs)]
  },
}

const squaredNorm: KernelRule = {
  layouts: packed,
  kernel: ({ inputs }) => squaredNormKernel({ sizes: inputs.map((v) => sizeOf(v.shape)) }),
}

const softmax: KernelRule = {
  layouts: (step) => rowsAlongAxis(step),
  kernel({ inputs: [x], outputs: [y], step }, target) {
    const axis = alongAxis(step)
    return softmaxKernel({ ...rowSizes(known(x), axis), x: rows(known(x), axis), y: rows(known(y), axis) }, target)
  },
}

const softmaxGrad: KernelRule = {
  layouts: (step) => rowsAlongAxis(step),
  kernel({ inputs: [y, dy], outputs: [dx], step }, target) {
    const axis = alongAxis(step)
    return softmaxGradKernel({ ...rowSizes(known(y), axis), y: rows(known(y), axis), dy: rows(known(dy), axis), dx: rows(known(dx), axis) }, target)
  },
}

export const fusedRules: Readonly<Record<string, KernelRule | undefined>> = { groupNorm, groupNormGrad, layerNorm, layerNormGrad, attention, attentionGrad, adamw, softmax, softmaxGrad, squaredNorm }
