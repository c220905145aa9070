/**
 * Packing of the operand of a matrix product that its kernel would pack anew for every chunk of rows: all panels of
 * the matrix at once, block of k after block of k, so that threads share them and the work of packing them.
 * They are the panels that the kernel packs, hence the same bits in the end. An item is a few panels of one block of k.
 */
import type { MatmulDescriptor, Strided } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { i32, type Local, loopRange, minimum, set } from '../core/assembler.ts'
import { product } from '../../ir/domain.ts'
import { blockDepth, chooseTile } from './gemm.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { type Matrix, orient, panelsAt } from './matmul.ts'
import { packColumns } from './pack.ts'

interface MatmulPanels {
  /** The operand: 0 or 1. */
  readonly input: number
  /** What takes its place, and how many elements that has. */
  readonly panels: Strided
  readonly elements: number
  /** Buffers: the operand, the panels. */
  readonly kernel: WasmKernel
}

/** Whole panels of any width, and enough of a row to be read in a run. */
const columnsPerItem = 64
/** Rows that meet the matrix, its columns and elements, below which a launch more costs what it spares. */
const least = { rows: 12, columns: 16, elements: 65_536 } as const

/** Whether a launch for it pays: not if every problem has a matrix of its own, for then hardly one is packed twice. */
export function packingPays(d: MatmulDescriptor): boolean {
  const { m, n, b } = orient(d)
  const one = d.batch.every((size, axis) => size === 1 || b.batch[axis] === 0)
  return one && m * product(d.batch) >= least.rows && n >= least.columns && d.k * n >= least.elements
}

/** The packing for a product all of whose problems share the matrix. */
export function matmulPanels(d: MatmulDescriptor, target: WasmTarget): MatmulPanels {
  const { transposed, m, n, b } = orient(d)
  const width = 4 * chooseTile({ m, n }, target.wide === true).vectors
  const row = Math.ceil(n / width) * width
  const panels = { strides: [...d.batch.map(() => 0), ...(transposed ? [1, row] : [row, 1])], offset: 0 }
  return { input: b.buffer, panels, elements: d.k * row, kernel: packingKernel({ n, k: d.k, row }, b, width) }
}

interface Sizes {
  readonly n: number
  readonly k: number
  /** Floats of all panels for one k. */
  readonly row: number
}

function packingKernel({ n, k, row }: Sizes, b: Matrix, width: number): WasmKernel {
  const [adjacent, depthAdjacent] = [b.column === 4, b.row === 4]
  const depth = blockDepth(k)
  const groups = Math.ceil(n / columnsPerItem)
  const args = new Arguments()
  const [source, panels] = [args.buffer(0, b.offset), args.buffer(1)]
  const sizes = {
    n: args.number(n), k: args.number(k), depth: args.number(depth), groups: args.number(groups),
    row: args.number(4 * row), columnStep: args.number(b.column), depthStep: args.number(b.row),
  }
  return {
    key: `matmulPanels:${width},${adjacent},${depthAdjacent}`,
    args: args.list,
    items: groups * Math.ceil(k / depth),
    flops: 0,
    bytes: 4 * k * (n + row),
    build() {
      const f = args.open()
      const local = (): Local => f.local('i32')
      const [item, start, k0, kc, n0, nc] = [local(), local(), local(), local(), local(), local()]
      f.emit(loopRange(item, begin, end, 1, [
        set(n0, i32.mul(i32.remu(item, sizes.groups), columnsPerItem)),
        set(nc, minimum(i32.sub(sizes.n, n0), columnsPerItem)),
        set(k0, i32.mul(i32.divu(item, sizes.groups), sizes.depth)),
        set(kc, minimum(i32.sub(sizes.k, k0), sizes.depth)),
        set(start, panelsAt(panels, { k0, kc, n0 }, sizes.row)),
        packColumns(f, width, { base: source, from: n0, count: nc, first: k0, depth: kc, columnStep: sizes.columnStep, adjacent, depthStep: sizes.depthStep, depthAdjacent }, start),
      ]))
      return f
    },
  }
}
