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
import type { Abilities, Rule } from './rule.ts'

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
function overPlanes({ convTakesPlanes }: Abilities, { outputs: [output], attributes }: Step, inputs: readonly View[], images: readonly View[], describe: Describe): boolean {
  return output !== undefined && images.every(isRowMajor) && convTakesPlanes?.(describe(inputs, bufferView(output.spec.shape), attributes as Window)) === true
}

/** An image in, weights as they lie, an image out. */
const imageToImage = (describe: Describe): Rule<ConvDescriptor> => ({
  layouts(step, inputs, final, device) {
    const planes = final && overPlanes(device, step, inputs, inputs.slice(0, 1), describe)
    return {
      inputs: inputs.map((view, i) => (i === 0 && !planes ? image(view) : 'any')),
      outputs: step.outputs.map(({ spec: { shape } }) => (planes ? rowMajor(shape) : channelsLast(shape))),
      epilogue: true,
    }
  },
  halves: factors,
  describe: ({ inputs, outputs: [y], step }) => describe(inputs, known(y), step.attributes as Window),
})

export const conv: Rule<ConvDescriptor> = imageToImage(forward)
export const convInputGrad: Rule<ConvDescriptor> = imageToImage(inputGrad)

export const convWeightGrad: Rule<ConvDescriptor> = {
  layouts: (step, inputs, _, device) => ({
    inputs: inputs.map(overPlanes(device, step, inputs, inputs, weightGrad) ? () => 'any' : image),
    outputs: step.outputs.map((w) => rowMajor(w.spec.shape)),
  }),
  halves: () => ({ inputs: [0, 1], outputs: [0] }),
  describe: ({ inputs, outputs: [dw], step }) => weightGrad(inputs, known(dw), step.attributes as Window),
}
