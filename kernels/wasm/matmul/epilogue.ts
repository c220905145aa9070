/**
 * The end of a product: when a block of the output is finished, an expression of its elements and of operands at the
 * same positions is written over them, row by row in vectors of four columns. The products were rounded to f32 in
 * memory before, so the bits are those of a product stored and then read by an elementwise kernel.
 */
import type { Epilogue, Operand } from '../../ir/descriptor.ts'
import { expressionKey } from '../../ir/expression.ts'
import { checkAccess, unknownNodes } from '../../ir/nodes.ts'
import { memoryType, sizeShift } from '../core/access.ts'
import { type Code, type FunctionBuilder, i32, type Local, loopRange, set } from '../core/assembler.ts'
import { type Access, advanceCursor, alongLane, type Cursor, readLanes, write } from '../core/cursor.ts'
import { emitExpressions } from '../core/emit.ts'
import type { GemmBlock } from './gemm.ts'
import { leaves } from '../core/leaves.ts'
import { VectorScope } from '../core/scope.ts'

/** The output, or an operand at its positions. */
export interface EpilogueOperand {
  readonly dtype: Operand['dtype']
  readonly access: Access
  /** Address of the problem's first element. */
  readonly base: Local
  /** Bytes from there to a row, which counts from the block's first. */
  readonly row: (row: Code) => Code
  /** Bytes from one column to the next. */
  readonly columnStep: Local
}

/** Vectors computed side by side; see `emit.ts`. */
const bundle = 2

/** How an operand moves along the columns, by its stride in elements. */
export const columnAccess = (stride: number): Access => (stride === 1 ? 'vector' : stride === 0 ? 'splat' : 'lanes')

export const operandBytes = ({ dtype }: Operand): number => 1 << sizeShift[dtype]

/** What the code depends on, given the operands' accesses. Throws for an expression that an epilogue cannot compute. */
export function epilogueKey({ inputs, value }: Epilogue, accesses: readonly Access[]): string {
  for (const e of unknownNodes([value], new Map())) {
    if (e.op === 'load') checkAccess('epilogue', inputs[e.value]?.dtype ?? 'f32', e.type)
    if (e.op === 'index') throw new Error('epilogue: positions have no numbers here')
  }
  checkAccess('epilogue', 'f32', value.type)
  return `${inputs.map(({ dtype }, i) => `${memoryType(dtype)}-${accesses[i] ?? ''}`).join()};${expressionKey([value])}`
}

/** Operations, and bytes of the operands, each element once. */
export function epilogueCost({ inputs, value }: Epilogue, shape: readonly number[]): { readonly flops: number; readonly bytes: number } {
  const elements = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1)
  return {
    flops: elements(shape) * unknownNodes([value], new Map()).filter((e) => e.args.length > 0).length,
    bytes: inputs.reduce((sum, o) => sum + operandBytes(o) * elements(shape.filter((_, axis) => o.strides[axis] !== 0)), 0),
  }
}

/** The code that finishes a block, whose output columns lie `out.columnStep` bytes apart. */
export function emitEpilogue(f: FunctionBuilder, block: Pick<GemmBlock, 'mc' | 'n0' | 'nc'>, { value }: Epilogue, operands: readonly EpilogueOperand[], out: EpilogueOperand): Code {
  const scope = new VectorScope(f)
  const [row, position] = [f.local('i32'), f.local('i32')]
  const cursorOf = ({ dtype, access, columnStep }: EpilogueOperand): Cursor => ({ dtype: memoryType(dtype), access, stride: columnStep, pointer: f.local('i32'), walker: f.local('i32'), range: undefined })
  const [target, inputs] = [cursorOf(out), operands.map(cursorOf)]
  const enterRow = ({ base, row: offset, columnStep }: EpilogueOperand, { pointer }: Cursor): Code =>
    set(pointer, i32.add(i32.add(base, offset(row)), i32.mul(block.n0, columnStep)))
  const columns = alongLane(scope, bundle, position, block.nc, (count, place) => {
    const accumulator = Array.from({ length: count }, (_, vector) => readLanes(scope, target, place, vector))
    const leaf = leaves({ scope, cursors: inputs, place, laneIndex: undefined, position: () => undefined, accumulator })
    const [values = []] = emitExpressions(scope, [value], count, new Map(), leaf)
    write(scope, target, place, value.type, values)
    scope.emit([target, ...inputs].map((cursor) => advanceCursor(cursor, 4 * count)))
  })
  return [
    scope.setup,
    loopRange(row, 0, block.mc, 1, [enterRow(out, target), operands.map((o, i) => enterRow(o, inputs[i] ?? target)), set(position, 0), columns]),
  ]
}
