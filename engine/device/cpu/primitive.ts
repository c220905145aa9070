/** The primitives the CPU has hand-written kernels for. */
import { mapKernel } from '../../../kernels/wasm/map.ts'
import { index } from '../../../kernels/expression.ts'
import { gatherKernel } from '../../../kernels/wasm/gather.ts'
import type { Step } from '../../compile/lower.ts'
import type { View } from '../../compile/view.ts'
import type { Spec } from '../../graph.ts'
import { at } from '../../shape.ts'
import { storageType } from './generated.ts'
import { all, packed, strided } from './layouts.ts'
import type { HandWritten, KernelRule } from './rule.ts'

const iota: KernelRule = {
  layouts: packed,
  kernel: ({ outputs: [y] }) => mapKernel({ shape: y?.shape ?? [], inputs: [], outputs: [{ operand: { dtype: 'i32', strides: [1], offset: 0 }, value: index(0) }] }),
}

const gather: KernelRule = {
  layouts: strided,
  kernel({ inputs: [x, index], outputs: [out], step }) {
    const { axis } = step.attributes as { axis: number }
    const [from, where, to] = [known(x), known(index), known(out)]
    return gatherKernel({ shape: to.shape, axis, extent: at(from.shape, axis), x: all(from), index: all(where), out: all(to), dtype: storageType(outputOf(step).dtype) })
  },
}

export const primitiveRules: Partial<Readonly<Record<HandWritten, KernelRule>>> = { iota, gather }

function known(view: View | undefined): View {
  if (view === undefined) throw new RangeError('a kernel got too few operands')
  return view
}

function outputOf({ outputs: [output] }: Step): Spec {
  if (output === undefined) throw new RangeError('a step has an output')
  return output.spec
}
