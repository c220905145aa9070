/** How tensors and variables look in print: dtype and shape, and for an unrealised tensor the expression it stands for. */
import type { Leaf, Tensor } from './graph.ts'
import { formatShape } from './shape.ts'
import type { Variable } from './variable.ts'

const depth = 3
const width = 4

/** Such as `Tensor f32 [2,3] = add(matmul(data, weight), …)`; three calls deep, four operands wide. */
export function describeTensor(t: Tensor): string {
  return `Tensor ${t.dtype} ${formatShape(t.shape)} = ${t.leaf === undefined ? expression(t, depth) : leafText(t.leaf)}`
}

/** Such as `Variable f32 [64,3] weight`. */
export function describeVariable({ dtype, shape, name }: Variable): string {
  return `Variable ${dtype} ${formatShape(shape)}${name === '' ? '' : ` ${name}`}`
}

function leafText(leaf: Leaf): string {
  switch (leaf.kind) {
    case 'scalar':
      return String(leaf.value)
    case 'data':
      return 'data'
    case 'cell':
      return leaf.cell.name || 'variable'
    case 'stored':
      return leaf.storage.disposed ? 'disposed' : 'realised'
    case 'placeholder':
      return 'input'
    default:
      return leaf satisfies never
  }
}

function expression(t: Tensor, levels: number): string {
  if (t.leaf !== undefined) return leafText(t.leaf)
  const { op, inputs, attributes, outputs } = t.node
  if (op.name === 'literal' && 'value' in attributes) return String(attributes.value)
  const shown = inputs.slice(0, width).map((x) => (levels > 1 || x.leaf !== undefined ? expression(x, levels - 1) : '…'))
  return `${op.name}(${[...shown, ...(inputs.length > width ? ['…'] : [])].join(', ')})${outputs.length > 1 ? `.${t.output}` : ''}`
}
