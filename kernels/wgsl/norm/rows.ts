/**
 * Rows of a matrix [row, element] that kernels normalise: a workgroup takes as many whole rows as give its invocations some
 * elements each. Rows of up to 4,096 elements are read once, into registers; longer ones are walked along for every pass,
 * which the caches make cheap.
 */
import type { Strided } from '../../ir/descriptor.ts'
import { adjacentIn, ceilToPower, eachElement, invocations, type LineTile, locateLane, mostInvocations, mostPerLane } from '../core/lineTile.ts'
import type { Shader } from '../core/shader.ts'

/** Neighbouring invocations that read whole cache lines, and the elements of each at which a row gets more of them. */
const fullAccess = 32
const goodPerLane = 8
/** Elements that a walking invocation asks for at once. */
const walkStep = 4
/** Rows are spread over so many workgroups, unless these get smaller than a good one. */
const enoughWorkgroups = 512
const fewestInvocations = 64

function rowTile(rows: number, length: number, operands: readonly Strided[]): LineTile {
  const adjacent = adjacentIn(operands)
  const mostLanes = Math.min(mostInvocations, ceilToPower(length))
  const together = Math.min(fullAccess, ceilToPower(rows)) // where rows are adjacent
  const lanes = Math.min(mostLanes, adjacent === 'lines' ? mostInvocations / together : Math.max(fullAccess, ceilToPower(length / goodPerLane)))
  let lines = adjacent === 'lines' ? together : Math.min(ceilToPower(rows), mostInvocations / lanes)
  while (adjacent === 'elements' && lines > 1 && lines * lanes > fewestInvocations && rows / lines < enoughWorkgroups) lines /= 2
  return { lines, lanes, perLane: ceilToPower(length / lanes), adjacent }
}

interface Operand {
  readonly strided: Strided
  /** Every pass reads it. */
  readonly read: boolean
}

export class Rows {
  readonly tile: LineTile
  readonly groups: number
  readonly size: number
  /** Declares `row`, `present` unless it is beyond the last, and how far it goes, `stop`; reads what registers hold. */
  readonly enter: string
  private readonly held: boolean
  private readonly names: readonly string[]
  private readonly steps: Readonly<Record<string, string>>

  constructor(shader: Shader, rows: number, length: number, operands: Readonly<Record<string, Operand>>) {
    const list = Object.entries(operands)
    const tile = rowTile(rows, length, list.map(([, { strided }]) => strided))
    this.tile = tile
    this.groups = Math.ceil(rows / tile.lines)
    this.size = invocations(tile)
    this.held = tile.perLane <= mostPerLane
    this.names = list.filter(([, { read }]) => read).map(([name]) => name)
    const [count, stop, groups] = [shader.parameter('rows', rows), shader.parameter('length', length), shader.parameter('groups', this.groups)]
    const places = list.map(([name, { strided: { strides: [row = 0, element = 0], offset } }]) => ({
      name, offset: shader.parameter(`${name}Offset`, offset, 'i32'), row: shader.parameter(`${name}Row`, row, 'i32'), element: shader.parameter(`${name}Element`, element, 'i32'),
    }))
    this.steps = Object.fromEntries(places.map(({ name, element }) => [name, element]))
    this.enter = `
    if (workgroup >= ${groups}) { return; }
    ${locateLane(tile)}
    let rowOfTile = workgroup * ${tile.lines}u + line;
    let present = rowOfTile < ${count};
    let row = min(rowOfTile, ${count} - 1u);
    let stop = select(0u, ${stop}, present);
    ${places.map(({ name, offset, row }) => `let ${name}Base = ${offset} + i32(row) * ${row};`).join('\n    ')}
    ${this.held ? eachElement(tile, (k) => `let e${k} = lane + ${k * tile.lanes}u; ${this.names.map((name) => `var ${name}${k} = 0.0; if (e${k} < stop) { ${name}${k} = f32(${this.at(name, `e${k}`)}); }`).join(' ')}`) : ''}`
  }

  /** The element of an operand. */
  at(name: string, element: string): string {
    return `${name}[${name}Base + i32(${element}) * ${this.steps[name]}]`
  }

  /** Runs `body` for every element of the row that is an invocation's: the values there of the operands that are read, by name, and its number. */
  each(body: (values: Readonly<Record<string, string>>, element: string) => string): string {
    const { lanes } = this.tile
    const values = (of: (name: string) => string): Record<string, string> => Object.fromEntries(this.names.map((name) => [name, of(name)]))
    if (this.held) return eachElement(this.tile, (k) => `if (e${k} < stop) { ${body(values((name) => `${name}${k}`), `e${k}`)} }`)
    const step = (k: number): string => `{ let e = start + ${k * lanes}u; if (e < stop) { ${body(values((name) => `f32(${this.at(name, 'e')})`), 'e')} } }`
    return `
    for (var start = lane; start < stop; start += ${walkStep * lanes}u) {
      ${Array.from({ length: walkStep }, (_, k) => step(k)).join('\n      ')}
    }`
  }
}
