/**
 * A workgroup's share of lines of elements, such as the rows of a matrix or the channels of an image: `lines` lines with
 * `lanes` invocations each, every one of which holds `perLane` elements in registers, or walks along its line if those are not
 * enough. Neighbouring invocations take neighbours in memory. Sums over a line, or over some lines next to each other,
 * are trees in workgroup memory that depend on sizes only.
 */
import type { Strided } from '../../ir/descriptor.ts'
import type { ElementType } from './shader.ts'

/** How many elements an invocation holds in registers at most. */
export const mostPerLane = 16
export const mostInvocations = 256

export interface LineTile {
  readonly lines: number
  /** A power of two. */
  readonly lanes: number
  readonly perLane: number
  /** What lies next to each other in memory: a line's elements, or the same element of neighbouring lines. */
  readonly adjacent: 'elements' | 'lines'
}

export const ceilToPower = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)))
export const floorToPower = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)))

/** What lies next to each other in most of `operands`, by their strides of a line and of an element. */
export function adjacentIn(operands: readonly Strided[]): LineTile['adjacent'] {
  const adjacent = (axis: number): number => operands.filter(({ strides }) => Math.abs(strides.at(axis) ?? 0) === 1).length
  return adjacent(-2) > adjacent(-1) ? 'lines' : 'elements'
}

export const invocations = ({ lines, lanes }: LineTile): number => lines * lanes

/** Declares `line` and `lane`. */
export function locateLane({ lines, lanes, adjacent }: LineTile): string {
  return adjacent === 'lines'
    ? `let line = local % ${lines}u; let lane = local / ${lines}u;`
    : `let line = local / ${lanes}u; let lane = local % ${lanes}u;`
}

/**
 * A function `name(value, local, lane, line, together)` that folds the values of a line's lanes and then of `together` lines from a
 * multiple of `together` on, and gives the result to each of them. All invocations must call it.
 */
export function foldLines(tile: LineTile, name: string, { type = 'f32', op = 'add' }: { readonly type?: 'f32' | 'vec2<f32>'; readonly op?: 'add' | 'max' } = {}): string {
  const { lines, lanes, adjacent } = tile
  const [laneStep, lineStep] = adjacent === 'lines' ? [lines, 1] : [1, lanes]
  const combine = (x: string, y: string): string => (op === 'add' ? `${x} + ${y}` : `max(${x}, ${y})`)
  return `
    var<workgroup> ${name}Values: array<${type}, ${invocations(tile)}>;
    fn ${name}(value: ${type}, local: u32, lane: u32, line: u32, together: u32) -> ${type} {
      ${name}Values[local] = value;
      workgroupBarrier();
      for (var half = ${Math.floor(lanes / 2)}u; half > 0u; half >>= 1u) {
        if (lane < half) { ${name}Values[local] = ${combine(`${name}Values[local]`, `${name}Values[local + half * ${laneStep}u]`)}; }
        workgroupBarrier();
      }
      let first = (line - line % together) * ${lineStep}u;
      var result = ${name}Values[first];
      for (var i = 1u; i < together; i++) { result = ${combine('result', `${name}Values[first + i * ${lineStep}u]`)}; }
      workgroupBarrier();
      return result;
    }`
}

/** The text of a balanced sum. */
export function sumOf(terms: readonly string[]): string {
  if (terms.length <= 1) return terms[0] ?? '0.0'
  const half = Math.ceil(terms.length / 2)
  return `(${sumOf(terms.slice(0, half))} + ${sumOf(terms.slice(half))})`
}

/** `text` for each element that an invocation holds, line by line. */
export const eachElement = ({ perLane }: LineTile, text: (k: number) => string): string => Array.from({ length: perLane }, (_, k) => text(k)).join('\n')
export const overElements = ({ perLane }: LineTile, term: (k: number) => string): string => sumOf(Array.from({ length: perLane }, (_, k) => term(k)))

/** The expression that stores `value`, an f32, as `dtype`. */
export const stored = (dtype: ElementType, value: string): string => (dtype === 'f32' ? value : `${dtype}(${value})`)
