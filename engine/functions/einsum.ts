/** Einstein summation, from matrix products, sums and movement. */
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { at, formatShape } from '../shape.ts'
import { cast, mul } from '../ops/elementwise.ts'
import { matmulOp } from '../ops/matmul.ts'
import { permute, reshape, strideSlice, sumKeep, zeroPad } from '../ops/movement.ts'
import { productType } from '../ops/operands.ts'

/** A tensor whose axes have labels: letters of the equation, and numbers for the axes of an ellipsis, from the back. */
interface Labelled {
  readonly x: Tensor
  readonly labels: readonly string[]
}

interface Equation {
  readonly inputs: readonly (readonly string[])[]
  readonly output: readonly string[]
}

/**
 * Sums products of elements over the labels that the result leaves out: `einsum('bhqd,bhkd->bhqk', q, k)`. Each letter
 * names an axis; `...` stands for leading axes, which broadcast; a letter twice in one operand takes its diagonal;
 * without `->` the result has the letters that occur once, in alphabetical order. Operands are contracted from left to
 * right. Throws ShapeError for an equation that does not parse or sizes that differ, DTypeError for integers.
 */
export function einsum(equation: string, ...operands: readonly TensorLike[]): Tensor {
  const dtype = productType('einsum', Object.fromEntries(operands.map((x, i) => [`operand ${i}`, x])))
  const { inputs, output } = parse(equation, operands)
  const sizes = sizesOf(equation, operands, inputs)
  const missing = output.find((label) => !sizes.has(label))
  if (missing !== undefined) throw new ShapeError(`einsum: the result of '${equation}' has ${missing}, which no operand has; take it out`)
  const all = operands.map((x, i) => distinct({ x: cast(x, dtype), labels: at(inputs, i) }, sizes))
  const result = all.reduce((a, b, i) => {
    const later = new Set([...output, ...all.slice(i + 1).flatMap((o) => o.labels)])
    return contract(a, b, later, sizes)
  })
  return arrange(sumOver(result, new Set(output)), output, sizes)
}

function parse(equation: string, operands: readonly TensorLike[]): Equation {
  const [left = '', right, ...more] = equation.replaceAll(' ', '').split('->')
  const terms = left.split(',')
  const malformed = [...terms, right ?? ''].find((term) => !/^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(term))
  if (malformed !== undefined || more.length > 0) throw new ShapeError(`einsum: '${equation}' does not parse${malformed === undefined ? '' : ` at '${malformed}'`}; write letters, commas, '...' and one '->', as in 'bij,bjk->bik'`)
  if (terms.length !== operands.length) throw new ShapeError(`einsum: '${equation}' has ${terms.length} operands but ${operands.length} were passed; pass one tensor for each`)
  const inputs = terms.map((term, i) => labelsOf(equation, term, at(operands, i).shape.length, i))
  const dots = Array.from({ length: Math.max(...inputs.map((labels) => labels.filter(isDot).length)) }, (_, k) => String(k)).toReversed()
  if (right !== undefined) {
    const output = right.includes('...') ? replaceDots(right, dots) : right.split('')
    const twice = output.find((label, i) => output.indexOf(label) !== i)
    if (twice !== undefined) throw new ShapeError(`einsum: the result of '${equation}' has ${twice} twice; name each axis once`)
    return { inputs, output }
  }
  const letters = inputs.flat().filter((label) => !isDot(label))
  return { inputs, output: [...dots, ...letters.filter((label) => letters.indexOf(label) === letters.lastIndexOf(label)).sort()] }
}

const isDot = (label: string): boolean => /\d/.test(label)

function replaceDots(term: string, dots: readonly string[]): string[] {
  const [before = '', after = ''] = term.split('...')
  return [...before.split(''), ...dots, ...after.split('')]
}

function labelsOf(equation: string, term: string, rank: number, operand: number): string[] {
  const named = term.replace('...', '').length
  if (term.includes('...') ? named > rank : named !== rank) {
    throw new ShapeError(`einsum: '${term}' in '${equation}' names ${named} axes but operand ${operand} has ${rank}; name each axis, or use '...' for the rest`)
  }
  return replaceDots(term, term.includes('...') ? Array.from({ length: rank - named }, (_, k) => String(rank - named - 1 - k)) : [])
}

function sizesOf(equation: string, operands: readonly TensorLike[], inputs: Equation['inputs']): Map<string, number> {
  const sizes = new Map<string, number>()
  inputs.forEach((labels, i) => {
    labels.forEach((label, axis) => {
      const { shape } = at(operands, i)
      const [size, known] = [at(shape, axis), sizes.get(label) ?? 1]
      if (known !== 1 && size !== 1 && size !== known) {
        throw new ShapeError(`einsum: ${isDot(label) ? 'an axis of ...' : label} in '${equation}' has sizes ${known} and ${size} (operand ${i} is ${formatShape(shape)}); make them equal`)
      }
      sizes.set(label, size === 1 ? known : size)
    })
  })
  return sizes
}

/** Each label once: diagonals taken, and axes of size 1 that others have longer left out, since they only repeat. */
function distinct({ x, labels }: Labelled, sizes: ReadonlyMap<string, number>): Labelled {
  const kept = labels.flatMap((label, i) => (x.shape[i] === 1 && sizes.get(label) !== 1 ? [] : [i]))
  const short: Labelled = { x: reshape(x, kept.map((i) => at(x.shape, i))), labels: kept.map((i) => at(labels, i)) }
  const second = short.labels.findIndex((label, i) => short.labels.indexOf(label) !== i)
  if (second < 0) return short
  const first = short.labels.indexOf(at(short.labels, second))
  return distinct(diagonal(short, first, second), sizes)
}

/** x[…, i, i] of an n × n matrix: every (n + 1)th element, the first column once each row is one longer. */
function diagonal({ x, labels }: Labelled, first: number, second: number): Labelled {
  const rest = labels.flatMap((_, i) => (i === first || i === second ? [] : [i]))
  const n = at(x.shape, first)
  const lead = rest.map((i) => at(x.shape, i))
  const flat = reshape(permute(x, [...rest, first, second]), [...lead, n * n])
  const none = lead.map(() => 0)
  const rows = reshape(zeroPad(flat, [...none, 0], [...none, n]), [...lead, n, n + 1])
  const column = strideSlice(rows, { start: rows.shape.map(() => 0), size: [...lead, n, 1], step: rows.shape.map(() => 1) })
  return { x: reshape(column, [...lead, n]), labels: [...rest, first].map((i) => at(labels, i)) }
}

/** Sums over the labels that nothing needs. */
function sumOver({ x, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const kept = labels.flatMap((label, i) => (needed.has(label) ? [i] : []))
  const sum = sumKeep(x, labels.flatMap((_, i) => (kept.includes(i) ? [] : [i])))
  return { x: reshape(sum, kept.map((i) => at(x.shape, i))), labels: kept.map((i) => at(labels, i)) }
}

/** The product of two, summed over labels both have and nothing later needs: a batched matrix product. */
function contract(left: Labelled, right: Labelled, later: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Labelled {
  const a = sumOver(left, new Set([...later, ...right.labels]))
  const b = sumOver(right, new Set([...later, ...left.labels]))
  const shared = a.labels.filter((label) => b.labels.includes(label))
  const batch = shared.filter((label) => later.has(label))
  const summed = shared.filter((label) => !later.has(label))
  const rows = a.labels.filter((label) => !shared.includes(label))
  const columns = b.labels.filter((label) => !shared.includes(label))
  const size = (labels: readonly string[]): number => labels.reduce((n, label) => n * (sizes.get(label) ?? 1), 1)
  const labels = [...batch, ...rows, ...columns]
  const lengths = batch.map((label) => size([label]))
  const x = reshape(arrange(a, [...batch, ...rows, ...summed], sizes), [...lengths, size(rows), size(summed)])
  const y = reshape(arrange(b, [...batch, ...summed, ...columns], sizes), [...lengths, size(summed), size(columns)])
  const z = summed.length === 0 ? mul(x, y) : apply(matmulOp, [x, y])
  return { x: reshape(z, labels.map((label) => size([label]))), labels }
}

/** The axes in the order of `labels`. */
function arrange({ x, labels }: Labelled, order: readonly string[], sizes: ReadonlyMap<string, number>): Tensor {
  const kept = order.filter((label) => labels.includes(label))
  const moved = permute(x, kept.map((label) => labels.indexOf(label)))
  return reshape(moved, order.map((label) => sizes.get(label) ?? 1))
}
