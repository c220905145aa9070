/**
 * What attention and its gradient share: how queries and keys are cut into blocks, and the scores of a block,
 * scale·k·qᵀ + mask. They lie with a row for each key, so that everything about a query, its largest score, its sum, its
 * log-sum-exp, is arithmetic between vectors of neighbouring queries.
 */
import { advance, type Code, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, select, set, v128 } from '../core/assembler.ts'
import type { AttentionSizes, Strided } from '../../ir/descriptor.ts'
import type { Arguments } from '../core/arguments.ts'
import type { Uniform } from '../core/lanes.ts'
import type { Matrix } from './scratchPanels.ts'
import { panelWidth, rowsBeyond } from './scratchProduct.ts'

export const pad = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple

/** Queries and keys of a block of scores; a block of 64 KiB leaves the second-level cache room for its operands. */
const most = { queries: 64, keys: 256 } as const

/** Positions in a block: blocks of about one size, a multiple of `unit`. */
export const blockOf = (positions: number, limit: number, unit: number): number => pad(Math.ceil(Math.max(1, positions) / Math.ceil(Math.max(1, positions) / limit)), unit)

export interface Blocks {
  readonly queries: number
  readonly keys: number
  /** Bytes from the scores of one key to those of the next: an odd number of cache lines, lest rows compete for the same ones. */
  readonly pitch: number
  /** Bytes of a block of scores. */
  readonly bytes: number
}

/** Of the blocks of queries only the last may not come out even in tiles of 6 and 4 rows: 32 queries make one block. */
export function blocksOf({ queries, keys }: Pick<AttentionSizes, 'queries' | 'keys'>): Blocks {
  const block = { queries: blockOf(queries, most.queries, panelWidth), keys: blockOf(keys, most.keys, 1) }
  const pitch = rowPitch(block.queries)
  return { ...block, pitch, bytes: (block.keys + rowsBeyond) * pitch }
}

/** Bytes from one row of `floats` to the next in scratch memory. */
export const rowPitch = (floats: number): number => (floats < panelWidth ? 4 * pad(Math.max(1, floats), 4) : 64 * (Math.ceil(floats / panelWidth) | 1))

/** The arguments of an operand [...batch, row, element], and its matrix of one batch position. */
export class Heads {
  readonly address: Local
  readonly batchStrides: readonly number[]
  readonly contiguous: boolean
  readonly row: Local
  readonly element: Local

  constructor(args: Arguments, buffer: number, { strides, offset }: Strided) {
    this.address = args.buffer(buffer, 4 * offset)
    this.batchStrides = strides.slice(0, -2).map((s) => 4 * s)
    this.row = args.number(4 * (strides.at(-2) ?? 0))
    this.element = args.number(4 * (strides.at(-1) ?? 0))
    this.contiguous = strides.at(-1) === 1
  }

  /** Rows `first` … `first + rows − 1` of the matrix at `address`. */
  matrix(address: Local, first: Code, rows: Code, elements: Code, factor?: Uniform): Matrix {
    const matrix = { address: this.rowAt(address, first), row: this.row, element: this.element, contiguous: this.contiguous, rows, elements }
    return factor === undefined ? matrix : { ...matrix, factor }
  }

  rowAt(address: Local, row: Code): Code {
    return i32.add(address, i32.mul(row, this.row))
  }
}

export interface ScoreBlock {
  /** Address of the scores of key `key` and the block's first query, and how far the next key's are, in bytes. */
  readonly scores: Code
  readonly pitch: Local
  readonly query: Local
  readonly queries: Local
  readonly key: Local
  readonly keys: Local
}

/** Adds the mask to a block of scores, and takes out what is not causal. */
export function maskScores(f: FunctionBuilder, { scores, pitch, query, queries, key, keys }: ScoreBlock, causal: boolean, mask?: { readonly heads: Heads; readonly address: Local }): Code {
  const i = (): Local => f.local('i32')
  const [column, row, at] = [i(), i(), i()]
  const sum = f.local('v128')
  const next = (): Code => advance(at, pitch)
  /** The masks of `n` neighbouring queries, key by key: each has a pointer of its own. */
  const addTo = (n: 1 | 4): Code => {
    if (mask === undefined) return []
    const { heads: { row: queryStep, element: keyStep }, address } = mask
    const pointers = Array.from({ length: n }, i)
    return loopWhile(i32.le(i32.add(column, n), queries), [
      set(at, i32.add(scores, i32.shl(column, 2))),
      pointers.map((p, k) => set(p, i32.add(address, i32.add(i32.mul(i32.add(query, i32.add(column, k)), queryStep), i32.mul(key, keyStep))))),
      loopRange(row, 0, keys, 1, [
        pointers.map((p, k) => set(sum, k === 0 ? v128.load32Zero(p) : v128.load32Lane(p, sum, k))),
        n === 1 ? f32.store(at, f32.add(f32.load(at), f32x4.extract(sum, 0))) : v128.store(at, f32x4.add(v128.load(at), sum)),
        pointers.map((p) => advance(p, keyStep)),
        next(),
      ]),
      advance(column, n),
    ])
  }
  const addMask = mask === undefined ? [] : [set(column, 0), addTo(4), addTo(1)]
  if (!causal) return addMask
  /** How many of the block's queries come before the key at hand. */
  const before = i32.sub(i32.add(key, row), query)
  const firstRow = i32.sub(query, key)
  return [
    addMask,
    loopRange(row, select(firstRow, i32.const(0), i32.gt(firstRow, 0)), keys, 1, [
      set(at, i32.add(scores, i32.mul(row, pitch))),
      loopRange(column, 0, select(before, queries, i32.lt(before, queries)), 1, [
        f32.store(at, -Infinity), advance(at, 4),
      ]),
    ]),
  ]
}
