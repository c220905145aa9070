/**
 * The blocked matrix product: out[m, n] += Σₖ A[m, k]·B[k, n], after
 * Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
 * Work items are blocks of rows, numbered problem by problem, block of columns by block of columns.
 * Items of one block of columns that a thread takes in a row run as one: for each block of k it packs
 * B once, then for each block of rows packs A and runs the tiles, B's panel staying in the nearest caches.
 * Or B comes in panels, which a launch before has packed (`matmulPanels.ts`).
 * Every element sums its products block of k by block of k, whatever the split over threads; the
 * epilogue, if there is one, then goes over the finished block while it is in the cache.
 */
import type { Arguments } from '../core/arguments.ts'
import { begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, type FunctionBuilder, i32, type Local, loopWhile, minimum, set, when } from '../core/assembler.ts'
import type { WasmTarget } from '../core/kernel.ts'
import { ScratchAreas } from '../core/scratch.ts'
import { share } from '../core/share.ts'
import { maxDepth, type PanelLayout, rowPitch, type Tile, TileCode, type TileTarget } from './tile.ts'

/** All problems of a launch are of one size. */
export interface GemmSize {
  readonly problems: number
  readonly m: number
  readonly n: number
  readonly k: number
}

export interface GemmOptions {
  readonly target: WasmTarget
  readonly layout: PanelLayout
  /** B comes in panels; `packB` says where those of the block lie. */
  readonly packed?: boolean
}

/** Rows of A stay in the second-level cache while panels of B pass, each for as many tiles as there are in a block of rows. */
const mostRows = 48
/** A is packed once for every block of columns; few of them, but enough that threads can share B. In panels it only has to stay in the last cache. */
const columnLimits = { least: 256, most: 512, packed: 2048 } as const
/** Work in one item below which the hand-over would show. */
const flopsPerItem = 500_000
/** Where panels of B are shared, one is read from memory for so many of A; but items are enough for many threads. */
const packedItems = { panels: 4, least: 20 } as const

export function chooseTile({ m, n }: Pick<GemmSize, 'm' | 'n'>, wide: boolean): Tile {
  const vectors = n <= 4 ? 1 : n <= 8 || !wide ? 2 : 4
  // Sixteen vector registers hold 12 sums, a row of B and an element of A; fewer rows waste less of a short edge.
  const cost = (rows: number): number => Math.ceil(m / rows) * (rows + 1)
  const rows = [...(vectors === 1 ? [12] : []), 6, 4, 2, 1].reduce((best, candidate) => (cost(candidate) < cost(best) ? candidate : best))
  return { rows, vectors }
}

/** How many k are summed before the output is read again. */
export const blockDepth = (k: number): number => share(k, maxDepth)

/** How a product is cut, and the arguments and scratch areas that its code needs. Sizes stay out of the code. */
export class Gemm {
  readonly tile: Tile
  readonly layout: PanelLayout
  readonly relaxed: boolean
  readonly key: string
  readonly items: number
  readonly scratch: ScratchAreas
  /** Most columns, rows and k packed at a time. */
  readonly limits: { readonly rows: number; readonly columns: number; readonly depth: number }
  readonly aPanels: Local
  readonly bPanels: Local
  readonly spill: Local
  readonly sizes: Readonly<Record<'rowsPerItem' | 'rowItems' | 'columnBlocks' | 'rows' | 'columns' | 'depth', Local>>

  constructor(args: Arguments, size: GemmSize, options: GemmOptions) {
    this.tile = chooseTile(size, options.target.wide === true)
    this.layout = options.layout
    this.relaxed = options.target.relaxed
    const width = 4 * this.tile.vectors
    const most = options.packed === true ? columnLimits.packed : Math.min(columnLimits.most, Math.max(columnLimits.least, size.n / 2))
    const columns = share(size.n, most, width)
    const depth = blockDepth(size.k)
    const rows = Math.min(Math.ceil(mostRows / this.tile.rows), Math.max(1, Math.ceil(size.m / this.tile.rows))) * this.tile.rows
    const wanted = Math.ceil(flopsPerItem / (2 * Math.min(columns, size.n) * Math.max(1, size.k)) / this.tile.rows) * this.tile.rows
    const coarse = options.packed === true ? Math.min(packedItems.panels, Math.floor(size.m / packedItems.least / this.tile.rows)) * this.tile.rows : 0
    const rowsPerItem = Math.min(Math.max(wanted, coarse), 2 * rows)
    const rowItems = Math.ceil(size.m / rowsPerItem)
    const columnBlocks = Math.ceil(size.n / columns)
    this.items = size.problems * rowItems * columnBlocks
    this.limits = { rows, columns, depth }
    this.key = `${this.tile.rows}x${width},${this.layout},${this.relaxed ? 'fused' : 'rounded'}${options.packed === true ? ',packed' : ''}`
    this.scratch = new ScratchAreas(args)
    this.spill = this.scratch.area(4 * this.tile.rows * width)
    this.aPanels = this.scratch.area(rows * (this.layout === 'rows' ? rowPitch : 4 * depth))
    this.bPanels = options.packed === true ? args.number(0) : this.scratch.area(4 * columns * depth)
    this.sizes = {
      rowsPerItem: args.number(rowsPerItem),
      rowItems: args.number(rowItems),
      columnBlocks: args.number(columnBlocks),
      rows: args.number(rows),
      columns: args.number(columns),
      depth: args.number(depth),
    }
  }
}

/** The block at hand, in locals: rows m0 … m0 + mc − 1 and so on of problem `problem`. */
export type GemmBlock = Readonly<Record<'problem' | 'm0' | 'mc' | 'n0' | 'nc' | 'k0' | 'kc', Local>>

export interface GemmCode {
  readonly m: Local
  readonly n: Local
  readonly k: Local
  /** Address of the first element of the problem's output, valid after `enter`; bytes between rows and between columns. */
  readonly out: Local
  readonly rowStep: Local
  readonly columnStep: Local
  /** Columns are adjacent. */
  readonly adjacent: boolean
  /** Runs when the output's elements of the block are finished. */
  readonly epilogue?: Code | undefined
  enter(): Code
  packA(): Code
  packB(): Code
}

export function blockLocals(f: FunctionBuilder): GemmBlock {
  const local = (): Local => f.local('i32')
  return { problem: local(), m0: local(), mc: local(), n0: local(), nc: local(), k0: local(), kc: local() }
}

export function emitGemm(f: FunctionBuilder, gemm: Gemm, block: GemmBlock, code: GemmCode): void {
  const { sizes } = gemm
  const { problem, m0, mc, n0, nc, k0, kc } = block
  const local = (): Local => f.local('i32')
  const [item, rowItem, items, mFirst, mLast] = [local(), local(), local(), local(), local()]

  const rowBlocks = [
    set(m0, mFirst),
    loopWhile(i32.lt(m0, mLast), [
      set(mc, minimum(i32.sub(mLast, m0), sizes.rows)),
      code.packA(),
      tiles(f, gemm, block, code),
      code.epilogue === undefined ? [] : when(i32.ge(i32.add(k0, kc), code.k), code.epilogue),
      advance(m0, mc),
    ]),
  ]
  f.emit(
    gemm.scratch.prologue(),
    set(item, begin),
    loopWhile(i32.lt(item, end), [
      set(rowItem, i32.remu(item, sizes.rowItems)),
      set(items, minimum(i32.sub(end, item), i32.sub(sizes.rowItems, rowItem))),
      set(problem, i32.divu(item, sizes.rowItems)),
      set(n0, i32.mul(i32.remu(problem, sizes.columnBlocks), sizes.columns)),
      set(problem, i32.divu(problem, sizes.columnBlocks)),
      code.enter(),
      set(nc, minimum(i32.sub(code.n, n0), sizes.columns)),
      set(mFirst, i32.mul(rowItem, sizes.rowsPerItem)),
      set(mLast, minimum(code.m, i32.mul(i32.add(rowItem, items), sizes.rowsPerItem))),
      set(k0, 0),
      doWhile([set(kc, minimum(i32.sub(code.k, k0), sizes.depth)), code.packB(), rowBlocks, advance(k0, kc)], i32.lt(k0, code.k)),
      advance(item, items),
    ]),
  )
}

/** All tiles of a packed block: a panel of B meets every panel of A before the next. */
function tiles(f: FunctionBuilder, gemm: Gemm, block: GemmBlock, code: GemmCode): Code {
  const { tile, layout } = gemm
  const { m0, mc, n0, nc, k0, kc } = block
  const width = 4 * tile.vectors
  const local = (): Local => f.local('i32')
  const [i, j, a, b, bStart, bEnd, rows, columns, outColumn] = [local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const tileCode = new TileCode(f, tile)
  const target: TileTarget = {
    rows, columns, later: k0, adjacent: code.adjacent, columnStep: code.columnStep, spill: gemm.spill,
    row: (r) => i32.add(outColumn, i32.mul(i32.add(m0, i32.add(i, r)), code.rowStep)),
  }
  return [
    set(j, 0),
    set(bStart, gemm.bPanels),
    loopWhile(i32.lt(j, nc), [
      set(columns, minimum(i32.sub(nc, j), width)),
      set(bEnd, i32.add(bStart, i32.mul(kc, 4 * width))),
      set(outColumn, i32.add(code.out, i32.mul(i32.add(n0, j), code.columnStep))),
      set(i, 0),
      loopWhile(i32.lt(i, mc), [
        set(rows, minimum(i32.sub(mc, i), tile.rows)),
        set(a, i32.add(gemm.aPanels, layout === 'rows' ? i32.mul(i, rowPitch) : i32.mul(i32.mul(i, 4), kc))),
        set(b, bStart),
        tileCode.multiply(layout, gemm.relaxed, a, b, bEnd),
        tileCode.write(target),
        advance(i, tile.rows),
      ]),
      advance(j, width),
      set(bStart, bEnd),
    ]),
  ]
}
