/**
 * Convolution: channels last in memory, whatever the logical order says; weights as they lie. With few channels, copies
 * would take as long as the convolution: where images are row-major and end so, they stay, if the device's kernels can.
 */
import type { ConvDescriptor } from '../../../kernels/ir/descriptor.ts'
import type { Step } from '../../compile/lower.ts'
import { rowMajor } from '../../compile/order.ts'
import { bufferView } from '../../compile/view.ts'
import type { View } from '../../compile/view.ts'
import type { Window } from '../../ops/conv.ts'
import { at } from '../../shape.ts'
import { all, channelsLast, factors, fastest, isRowMajor, known } from './layouts.ts'
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

/** The kernel's descriptor, given views of the step's inputs, then its output. */
type Describe = (inputs: readonly View[], output: View, window: Window) => ConvDescriptor

const forward: Describe = ([x, w], y, window) => descriptor(known(x), known(w), y, window)
const inputGrad: Describe = ([dy, w], dx, window) => descriptor(dx, known(w), known(dy), window)
const weightGrad: Describe = ([x, dy], dw, window) => descriptor(known(x), dw, known(dy), window)

/** Whether the kernel reads images that are row-major as they are, and writes what is row-major. */
function overPlanes<K>(generate: PrimitiveGenerators<K>, { outputs: [output], attributes }: Step, inputs: readonly View[], images: readonly View[], describe: Describe): boolean {
  return output !== undefined && images.every(isRowMajor) && generate.convTakesPlanes?.(describe(inputs, bufferView(output.spec.shape), attributes as Window)) === true
}

/** An image in, weights as they lie, an image out. */
const imageToImage = <K>(generate: PrimitiveGenerators<K>, describe: Describe): KernelRule<K>['layouts'] => (step, inputs, final) => {
  const planes = final && overPlanes(generate, step, inputs, inputs.slice(0, 1), describe)
  return {
    inputs: inputs.map((view, i) => (i === 0 && !planes ? image(view) : 'any')),
    outputs: step.outputs.map(({ spec: { shape } }) => (planes ? rowMajor(shape) : channelsLast(shape))),
    epilogue: true,
  }
}

export const conv = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: imageToImage(generate, forward),
  halves: factors,
  kernel: ({ inputs, outputs: [y], step, epilogue, type, outputType }) => generate.conv(forward(inputs, known(y), step.attributes as Window), epilogue, { factors: type, output: outputType }),
})

export const convInputGrad = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: imageToImage(generate, inputGrad),
  halves: factors,
  kernel: ({ inputs, outputs: [dx], step, epilogue, type, outputType }) => generate.convInputGrad(inputGrad(inputs, known(dx), step.attributes as Window), epilogue, { factors: type, output: outputType }),
})

export const convWeightGrad = <K>(generate: PrimitiveGenerators<K>): KernelRule<K> => ({
  layouts: (step, inputs) => ({
    inputs: inputs.map(overPlanes(generate, step, inputs, inputs, weightGrad) ? () => 'any' : image),
    outputs: step.outputs.map((w) => rowMajor(w.spec.shape)),
  }),
  halves: () => ({ inputs: [0, 1], outputs: [0] }),
  kernel: ({ inputs, outputs: [dw], step, type }) => generate.convWeightGrad(weightGrad(inputs, known(dw), step.attributes as Window), type),
})
