/**
 * Products of matrices, blocked: a workgroup computes a tile of the output from tiles of both sides in workgroup memory,
 * each invocation blocks of 4 × 4 elements in registers (Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear
 * algebra"). The next tiles are on their way from memory while the present ones are multiplied. Where there are too few
 * tiles to fill a device the depth is split: parts are stored side by side and a second dispatch adds them in order.
 */
import { product } from '../../ir/domain.ts'
import type { FloatType } from '../../ir/expression.ts'
import { comesInFours, Digits } from '../core/digits.ts'
import type { Dispatch } from '../core/kernel.ts'
import { indent } from '../core/stridedOperands.ts'
import { packable, packSide } from './pack.ts'
import { chooseTile, type Tile } from './blockedTile.ts'
import { Shader } from '../core/shader.ts'
import { type Side, SideLoader } from './side.ts'
import { Store, type Target } from './store.ts'

export interface BlockedProduct {
  readonly label: string
  /** Rows by depth, and columns by depth. */
  readonly a: Side
  readonly b: Side
  readonly out: Target
  /** Of the factors. */
  readonly dtype: FloatType
}

interface Sizes {
  readonly problems: number
  readonly m: number
  readonly n: number
  readonly k: number
}

const indexes = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

const sizesOf = ({ a, b }: BlockedProduct): Sizes => ({ problems: product(a.problems.sizes), m: product(a.lines.sizes), n: product(b.lines.sizes), k: product(a.depth.sizes) })

/** The transposed product, if columns of this one are not adjacent in the output but rows are. */
function facing(p: BlockedProduct): BlockedProduct {
  const { rows, columns } = p.out
  return comesInFours(columns, 0) || !comesInFours(rows, 0) ? p : { ...p, a: p.b, b: p.a, out: { ...p.out, rows: columns, columns: rows } }
}

/** Dispatches of the product, whose temporary buffers are numbered from `temporary` on. */
export function productDispatches(given: BlockedProduct, temporary: number): { readonly dispatches: Dispatch[]; readonly temporaries: number[] } {
  const facingOut = facing(given)
  const sizes = sizesOf(facingOut)
  const elements = sizes.problems * sizes.m * sizes.n
  if (elements === 0) return { dispatches: [], temporaries: [] }
  const [dispatches, temporaries]: [Dispatch[], number[]] = [[], []]
  const packed = (side: Side, others: number): Side => {
    if (!packable(side, others)) return side
    const copy = packSide(given.label, side, given.dtype, temporary + temporaries.length)
    dispatches.push(copy.dispatch)
    temporaries.push(copy.bytes)
    return copy.packed
  }
  const p = { ...facingOut, a: packed(facingOut.a, sizes.n), b: packed(facingOut.b, sizes.m) }
  const { tile, splits } = chooseTile(sizes)
  if (splits === 1) return { dispatches: [...dispatches, tileDispatch(p, sizes, tile, 1)], temporaries }
  const parts: Target = {
    buffer: temporary + temporaries.length, offsets: [0], dtype: 'f32', epilogue: undefined,
    problems: { sizes: [splits * sizes.problems], strides: [[sizes.m * sizes.n]] },
    rows: { sizes: [sizes.m], strides: [[sizes.n]] }, columns: { sizes: [sizes.n], strides: [[1]] },
  }
  dispatches.push(tileDispatch({ ...p, out: parts }, sizes, tile, splits), sumDispatch(p, elements, splits, parts.buffer))
  return { dispatches, temporaries: [...temporaries, 4 * splits * elements] }
}

function tileDispatch(p: BlockedProduct, { problems, m, n, k }: Sizes, tile: Tile, splits: number): Dispatch {
  const threads = tile.threadRows * tile.threadColumns
  const [tileRows, tileColumns] = [4 * tile.rowGroups * tile.threadRows, 4 * tile.columnGroups * tile.threadColumns]
  const tiles = { rows: Math.ceil(m / tileRows), columns: Math.ceil(n / tileColumns) }
  const groups = tiles.rows * tiles.columns * problems * splits
  const shader = new Shader(`${p.label} ${tileRows}×${tileColumns}×${tile.depth}`)
  const number = (name: string, value: number): string => shader.parameter(name, value)
  const [rows, columns, depth] = [number('rows', m), number('columns', n), number('depth', k)]
  const [gridColumns, gridTiles] = [number('gridColumns', tiles.columns), number('gridTiles', tiles.rows * tiles.columns)]
  const [count, problemCount] = [number('workgroups', groups), number('problems', problems)]
  const part = number('part', splitDepth(k, splits, tile.depth))
  const options = { whole: k % tile.depth === 0, scalar: p.dtype }
  const a = new SideLoader(shader, 'a', p.a, { lines: tileRows, depth: tile.depth, threads, spread: tile.threadRows }, { ...options, lineCount: rows })
  const b = new SideLoader(shader, 'b', p.b, { lines: tileColumns, depth: tile.depth, threads, spread: tile.threadColumns }, { ...options, lineCount: columns })
  const store = new Store(shader, p.out, b.access.along === 'lines')
  const [aProblem, bProblem] = [new Digits(shader, 'aProblem', p.a.problems), new Digits(shader, 'bProblem', p.b.problems)]

  const [rowGroups, columnGroups] = [indexes(tile.rowGroups), indexes(tile.columnGroups)]
  const sum = (i: number, r: number, j: number): string => `sum${4 * i + r}_${j}`
  const multiply = indexes(4).flatMap((d) => columnGroups.flatMap((j) => [
    `let b${j}At${d} = ${b.fourLines(j, d)};`,
    ...rowGroups.flatMap((i) => indexes(4).map((r) => `${sum(i, r, j)} = fma(vec4<f32>(${a.element(i, r, d)}), b${j}At${d}, ${sum(i, r, j)});`)),
  ]))
  const body = `
  if (workgroup >= ${count}) { return; }
  let tile = workgroup % ${gridTiles};
  let slice = workgroup / ${gridTiles};
  let problem = slice % ${problemCount};
  let firstRow = tile / ${gridColumns} * ${tileRows}u;
  let firstColumn = tile % ${gridColumns} * ${tileColumns}u;
  let threadRow = local / ${tile.threadColumns}u;
  let threadColumn = local % ${tile.threadColumns}u;
  let first = slice / ${problemCount} * ${part};
  let end = min(first + ${part}, ${depth});
${indent([...aProblem.declare('aProblem', 'problem'), ...bProblem.declare('bProblem', 'problem')])}
${indent([...a.prologue('firstRow', 'first', aProblem.quantity('aProblem', 0)), ...b.prologue('firstColumn', 'first', bProblem.quantity('bProblem', 0))])}
${indent(rowGroups.flatMap((i) => indexes(4).flatMap((r) => columnGroups.map((j) => `var ${sum(i, r, j)} = vec4<f32>();`))))}
  for (var k0 = first; ; k0 += ${tile.depth}u) {
    if (k0 < end) {
${indent([...a.fetch('k0', 'end'), ...b.fetch('k0', 'end')], 3)}
    }
    if (k0 > first) {
      for (var step = 0u; step < ${tile.depth / 4}u; step += 1u) {
${indent([...rowGroups.flatMap((i) => a.read('threadRow', i, 'step')), ...columnGroups.flatMap((j) => b.read('threadColumn', j, 'step')), ...multiply], 4)}
      }
    }
    if (k0 >= end) { break; }
    workgroupBarrier();
${indent([...a.store(), ...b.store()], 2)}
    workgroupBarrier();
  }
${indent(store.block({
  problem: 'slice', rowLimit: rows, columnLimit: columns,
  rows: rowGroups.flatMap((i) => indexes(4).map((r) => `firstRow + ${a.lineOf('threadRow', i, r)}`)),
  columns: columnGroups.map((j) => indexes(4).map((c) => `firstColumn + ${b.lineOf('threadColumn', j, c)}`)),
  value: (row, j) => `sum${row}_${j}`,
}))}`
  return shader.dispatch({ code: [a.code, b.code, store.code].join('\n'), body, size: threads, groups })
}

/** Depth of a part, in whole tiles. */
const splitDepth = (k: number, splits: number, depth: number): number => Math.ceil(Math.ceil(k / splits) / depth) * depth

/** Adds the parts of a split product, first to last. */
function sumDispatch(p: BlockedProduct, elements: number, splits: number, temporary: number): Dispatch {
  const size = 256
  const shader = new Shader(`${p.label}, sum of parts`).storage('parts', temporary, 'read')
  const [count, parts] = [shader.parameter('elements', elements), shader.parameter('parts', splits)]
  const store = new Store(shader, p.out, false)
  const body = `
  if (id < ${count}) {
    var sum = parts[id];
    for (var part = 1u; part < ${parts}; part += 1u) { sum += parts[part * ${count} + id]; }
${indent(store.single('sum', 'id'), 2)}
  }`
  return shader.dispatch({ code: store.code, body, size, groups: Math.ceil(elements / size) })
}
