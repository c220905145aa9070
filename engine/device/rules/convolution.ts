/** Convolution: channels last in memory, whatever the logical order says; weights as they lie. */
import type { ConvDescriptor } from '../../../kernels/descriptor.ts'
import type { Step } from '../../compile/lower.ts'
import { rowMajor } from '../../compile/order.ts'
import type { Layouts } from '../../compile/schedule.ts'
import type { View } from '../../compile/view.ts'
import type { Window } from '../../ops/conv.ts'
import { at } from '../../shape.ts'
import { all, channelsLast, fastest, known } from './layouts.ts'
import type { PrimitiveGenerators } from './generators.ts'
import type { KernelRule } from './rule.ts'

/** Images whose channels are neighbours stay as they are; others are copied so that they become it. */
const image = (view: View): readonly number[] | 'any' => fastest(view, 1, channelsLast(view.shape))

function descriptor(x: View, w: View, y: View, { stride, padding, output, dilation, groups }: Window): ConvDescriptor {
  return {
    batch: at(x.shape, 0), inChannels: at(x.shape, 1), outChannels: at(w.shape, 0), groups,
    input: x.shape.slice(2), kernel: w.shape.slice(2), output, stride, padding, dilation,
    x: all(x), w: all(w), y: all(y),
  }
}

/** An image in, weights as they lie, an image out. */
function imageToImage({ outputs }: Step, inputs: readonly View[]): Layouts {
  return { inputs: inputs.map((view, i) => (i === 0 ? image(view) : 'any')), outputs: outputs.map((y) => channelsLast(y.spec.shape)), epilogue: true }
}

export const conv = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: imageToImage,
  kernel: ({ inputs: [x, w], outputs: [y], step, epilogue }) => generate.conv(descriptor(known(x), known(w), known(y), step.attributes as Window), epilogue),
})

export const convInputGrad = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: imageToImage,
  kernel: ({ inputs: [dy, w], outputs: [dx], step, epilogue }) => generate.convInputGrad(descriptor(known(dx), known(w), known(dy), step.attributes as Window), epilogue),
})

export const convWeightGrad = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: ({ outputs }, inputs) => ({ inputs: inputs.map(image), outputs: outputs.map((w) => rowMajor(w.spec.shape)) }),
  kernel: ({ inputs: [x, dy], outputs: [dw], step }) => generate.convWeightGrad(descriptor(known(x), known(dw), known(dy), step.attributes as Window)),
})
