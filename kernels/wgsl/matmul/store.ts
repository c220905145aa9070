/**
 * The end of a product: where its elements go, and what becomes of them on the way (an epilogue, a function of the element
 * and of operands at its position). An invocation stores a block of rows by groups of four columns.
 */
import type { Epilogue } from '../../ir/descriptor.ts'
import { footprint, product } from '../../ir/domain.ts'
import type { FloatType } from '../../ir/expression.ts'
import { checkAccess, unknownNodes } from '../../ir/nodes.ts'
import { type Axes, comesInFours, Digits, joinAxes } from '../core/digits.ts'
import { elementType, emitExpressions, widen } from '../core/emit.ts'
import { functionsOf } from '../core/functions.ts'
import type { WgslTarget } from '../core/kernel.ts'
import { bytesOf, checkF16, indent } from '../core/stridedOperands.ts'
import type { Shader } from '../core/shader.ts'

/** Where elements of a product go. Quantities of the axes are elements of the output, then of each input of the epilogue. */
export interface Target {
  readonly buffer: number
  readonly offsets: readonly number[]
  readonly problems: Axes
  readonly rows: Axes
  readonly columns: Axes
  readonly dtype: FloatType
  readonly epilogue: BoundEpilogue | undefined
}

/** An epilogue whose inputs lie in the buffers from `first` on. */
export interface BoundEpilogue extends Epilogue {
  readonly first: number
}

/** What an invocation stores. */
export interface OutputBlock {
  /** The problem's number. */
  readonly problem: string
  readonly rowLimit: string
  readonly columnLimit: string
  readonly rows: readonly string[]
  /** In groups of four. */
  readonly columns: readonly (readonly string[])[]
  /** The vector of a row's elements in a group of columns. */
  readonly value: (row: number, group: number) => string
}

/** Buffers that a dispatch can bind besides two factors and the output. */
const mostBuffers = 5

/** For each input of an epilogue, the first that lies in its buffer. */
const holders = ({ inputs, buffers = [...inputs.keys()] }: Epilogue): number[] => inputs.map((_, i) => buffers.findIndex((b) => b === buffers[i]))

const components = ['x', 'y', 'z', 'w'] as const

/** Fails for types that the device lacks and expressions that an epilogue cannot compute. */
export function checkProduct(kernel: string, target: WgslTarget, types: readonly FloatType[], epilogue?: Epilogue): void {
  checkF16(kernel, target, [...types, ...(epilogue?.inputs ?? []).map((o) => o.dtype)])
  if (epilogue !== undefined) checkEpilogue(epilogue)
}

function checkEpilogue(epilogue: Epilogue): void {
  const { inputs, value } = epilogue
  for (const e of unknownNodes([value], new Map())) {
    if (e.op === 'load') checkAccess('epilogue', inputs[e.value]?.dtype ?? 'f32', e.type)
    if (e.op === 'index') throw new Error('epilogue: positions have no numbers here')
  }
  checkAccess('epilogue', 'f32', value.type)
  const held = new Set(holders(epilogue)).size
  if (held > mostBuffers) throw new RangeError(`epilogue: ${held} buffers, of which a dispatch can bind ${mostBuffers} besides those of the product: compute part of it before`)
}

/** Operations, and bytes of the inputs, each element once. */
export function epilogueCost({ inputs, value }: Epilogue, shape: readonly number[]): { readonly flops: number; readonly bytes: number } {
  const axes = shape.map((size, axis) => ({ size, index: undefined, strides: inputs.map((o) => o.strides[axis] ?? 0), ranges: [] }))
  return {
    flops: product(shape) * unknownNodes([value], new Map()).filter((e) => e.args.length > 0).length,
    bytes: inputs.reduce((sum, _, i) => sum + footprint(axes, i, bytesOf(inputs[i]?.dtype ?? 'f32')), 0),
  }
}

export class Store {
  private readonly target: Target
  private readonly vector: boolean
  private readonly offsets: readonly string[]
  private readonly holders: readonly number[]
  private readonly shader: Shader

  /** `adjacent`: groups of columns are neighbours. */
  constructor(shader: Shader, target: Target, adjacent: boolean) {
    const { buffer, offsets, problems, rows, columns, dtype, epilogue } = target
    this.shader = shader
    this.target = target
    const others = [offsets[0] ?? 0, ...(problems.strides[0] ?? []), ...(rows.strides[0] ?? [])]
    this.vector = adjacent && comesInFours(columns, 0) && others.every((s) => s % 4 === 0)
    shader.storage('out', buffer, 'read_write', this.vector ? `vec4<${dtype}>` : dtype)
    this.offsets = shader.parameterList('outOffset', offsets, 'i32')
    this.holders = epilogue === undefined ? [] : holders(epilogue)
    epilogue?.inputs.forEach((o, i) => { if (this.holders[i] === i) shader.storage(`input${i}`, epilogue.first + i, 'read', elementType[o.dtype]) })
  }

  /** Declarations of the epilogue. */
  get code(): string {
    const { epilogue } = this.target
    if (epilogue === undefined) return ''
    const { lines, values } = emitExpressions([epilogue.value], (e) => {
      if (e.op === 'accumulator') return 'element'
      const holder = this.holders[e.value] ?? e.value
      const [dtype = 'f32', held = dtype] = [e.value, holder].map((i) => epilogue.inputs[i]?.dtype)
      return widen(`input${holder}[u32(at${e.value})]`, dtype, elementType[held], e.type)
    })
    const parameters = ['element: f32', ...epilogue.inputs.map((_, i) => `at${i}: i32`)]
    const finish = [`fn finish(${parameters.join(', ')}) -> f32 {`, indent([...lines, `return ${values.join()};`]), '}'].join('\n')
    return `${functionsOf(finish)}\n${finish}`
  }

  /** An element as it is stored; `at`: where each input of the epilogue has its own. */
  private finished(element: string, at: readonly string[]): string {
    return this.target.epilogue === undefined ? element : `finish(${[element, ...at].join(', ')})`
  }

  /** Stores a block. */
  block({ problem, rowLimit, columnLimit, rows, columns, value }: OutputBlock): string[] {
    const { target, shader, vector } = this
    const digits = { problem: new Digits(shader, 'outProblem', target.problems), row: new Digits(shader, 'outRow', target.rows), column: new Digits(shader, 'outColumn', target.columns) }
    const quantities = this.offsets.map((_, q) => q)
    const ends = [0, 1, 2, 3]
    const at = (row: number, j: number, c: number, q: number): string => `row${row}At${q} + column${j}_${c}At${q}`
    const element = (row: number, j: number, c: number): string => this.finished(`${value(row, j)}.${components[c]}`, quantities.slice(1).map((q) => at(row, j, c, q)))
    const vectorOf = (row: number, j: number): string => (target.epilogue === undefined ? value(row, j) : `vec4<f32>(${ends.map((c) => element(row, j, c)).join(', ')})`)
    const write = (row: number, j: number, c: number): string => {
      const [to, stored] = vector ? [`u32(${at(row, j, c, 0)}) >> 2u`, `vec4<${target.dtype}>(${vectorOf(row, j)})`] : [`u32(${at(row, j, c, 0)})`, `${target.dtype}(${element(row, j, c)})`]
      return `if (column${j}_${c} < ${columnLimit}) { out[${to}] = ${stored}; }`
    }
    // The columns after a vector's first are of interest to the epilogue alone.
    const located = vector && quantities.length === 1 ? [0] : ends
    return [
      ...digits.problem.declare('outProblem', problem),
      ...quantities.map((q) => `let outAt${q} = ${this.offsets[q]} + ${digits.problem.quantity('outProblem', q)};`),
      ...columns.flatMap((group, j) => located.flatMap((c) => [
        `let column${j}_${c} = ${group[c]};`,
        ...digits.column.declare(`column${j}_${c}Digit`, `column${j}_${c}`),
        ...quantities.map((q) => `let column${j}_${c}At${q} = ${digits.column.quantity(`column${j}_${c}Digit`, q)};`),
      ])),
      ...rows.flatMap((index, row) => [
        `let row${row} = ${index};`,
        `if (row${row} < ${rowLimit}) {`,
        ...[
          ...digits.row.declare(`row${row}Digit`, `row${row}`),
          ...quantities.map((q) => `let row${row}At${q} = outAt${q} + ${digits.row.quantity(`row${row}Digit`, q)};`),
          ...columns.flatMap((_, j) => (vector ? [0] : ends).map((c) => write(row, j, c))),
        ].map((line) => `  ${line}`),
        '}',
      ]),
    ]
  }

  /** Stores `element`, the one numbered `id` over problems, rows and columns. */
  single(element: string, id: string): string[] {
    const { problems, rows, columns, dtype } = this.target
    const digits = new Digits(this.shader, 'out', joinAxes(joinAxes(problems, rows), columns))
    const at = this.offsets.map((offset, q) => `${offset} + ${digits.quantity('digit', q)}`)
    return [...digits.declare('digit', id), `out[u32(${at[0]})] = ${dtype}(${this.finished(element, at.slice(1))});`]
  }
}
