/**
 * Matrix products of strided matrices, in batches: out = a·b (+ bias). Transposes, broadcasts and flips are strides.
 * Every matrix of the batch is one problem of the blocked product in `gemm.ts`. If the output's rows
 * are the adjacent ones, the transposed product is computed: outᵀ = bᵀ·aᵀ.
 */
import type { Strided } from '../descriptor.ts'
import { Arguments, Nest } from './arguments.ts'
import { type Code, type FunctionBuilder, get, type Local, set } from './assembler.ts'
import { type Block, blockLocals, emitGemm, Gemm } from './gemm.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { packColumns, packRows } from './pack.ts'
import { evenSide, stridedBias } from './sides.ts'

export interface MatmulDescriptor {
  readonly batch: readonly number[]
  readonly m: number
  readonly k: number
  readonly n: number
  /** Strides of every operand: batch axes, then row, then column. */
  readonly a: Strided
  readonly b: Strided
  readonly out: Strided
  /** Added to the product; strides as of `out`. */
  readonly bias?: Strided | undefined
}

/** One operand as the product sees it: strides in bytes. */
interface Matrix {
  readonly buffer: number
  readonly offset: number
  readonly batch: readonly number[]
  readonly row: number
  readonly column: number
}

function matrix(operand: Strided, buffer: number, rank: number, transposed: boolean): Matrix {
  const bytes = operand.strides.map((s) => 4 * s)
  const [row = 0, column = 0] = bytes.slice(rank)
  return { buffer, offset: 4 * operand.offset, batch: bytes.slice(0, rank), row: transposed ? column : row, column: transposed ? row : column }
}

export function matmulKernel(d: MatmulDescriptor, target: WasmTarget): WasmKernel {
  const rank = d.batch.length
  const [outRow = 0, outColumn = 0] = d.out.strides.slice(rank)
  const transposed = d.n > 1 && outColumn !== 1 && (outRow === 1 || d.m === 1)
  const [m, n] = transposed ? [d.n, d.m] : [d.m, d.n]
  const a = transposed ? matrix(d.b, 1, rank, true) : matrix(d.a, 0, rank, false)
  const b = transposed ? matrix(d.a, 0, rank, true) : matrix(d.b, 1, rank, false)
  const out = matrix(d.out, d.bias === undefined ? 2 : 3, rank, transposed)
  const bias = d.bias === undefined ? undefined : matrix(d.bias, 2, rank, transposed)
  const problems = d.batch.reduce((product, size) => product * size, 1)
  const layout = a.column === 4 || d.k <= 1 ? 'rows' : 'interleaved'
  const [aAdjacent, bAdjacent, outAdjacent] = [a.row === 4, b.column === 4, out.column === 4]
  const biasColumn = bias === undefined ? -1 : bias.column

  const args = new Arguments()
  const operands = [a, b, out, ...(bias === undefined ? [] : [bias])]
  const origins = operands.map((o) => args.buffer(o.buffer, o.offset))
  const nest = new Nest(args, d.batch, operands.map((o) => o.batch))
  const gemm = new Gemm(args, { problems, m, n, k: d.k }, { target, layout })
  const size = { m: args.number(m), n: args.number(n), k: args.number(d.k) }
  const stepsOf = (o: Matrix): { row: Local; column: Local } => ({ row: args.number(o.row), column: args.number(o.column) })
  const [aStep, bStep, outStep] = [stepsOf(a), stepsOf(b), stepsOf(out)]
  const biasStep = bias === undefined ? undefined : stepsOf(bias)

  return {
    key: `matmul:${nest.key},${gemm.key},${aAdjacent},${bAdjacent},${outAdjacent},${bias === undefined ? 'none' : [0, 4].includes(biasColumn) ? biasColumn : 'any'}`,
    args: args.list,
    items: gemm.items,
    scratchBytes: gemm.scratch.bytes,
    flops: 2 * problems * m * n * d.k,
    bytes: 4 * problems * (m * d.k + d.k * n + m * n + (bias === undefined ? 0 : m * n)),
    build() {
      const f = args.open()
      const block = blockLocals(f)
      const local = (): Local => f.local('i32')
      const [aBase, bBase, outBase, biasBase, index] = [local(), local(), local(), local(), local()]
      const addresses = [aBase, bBase, outBase, ...(bias === undefined ? [] : [biasBase])]
      emitGemm(f, gemm, block, {
        ...size,
        out: outBase,
        rows: evenSide(block.m0, outStep.row, false),
        columns: evenSide(block.n0, outStep.column, outAdjacent),
        bias: biasStep === undefined ? undefined : stridedBias(f, biasBase, biasStep, biasColumn),
        enter: () => [
          addresses.map((address, i) => set(address, get(origins[i] ?? address))),
          set(index, get(block.problem)),
          nest.locate(f, index, addresses),
        ],
        packA: () => layout === 'rows'
          ? packRows(f, gemm.tile.rows, { base: aBase, from: block.m0, count: block.mc, first: block.k0, depth: block.kc, rowStep: aStep.row }, gemm.aPanels)
          : packMatrix(f, gemm.tile.rows, aBase, [block.m0, block.mc], aStep.row, aAdjacent, block, aStep.column, gemm.aPanels),
        packB: () => packMatrix(f, 4 * gemm.tile.vectors, bBase, [block.n0, block.nc], bStep.column, bAdjacent, block, bStep.row, gemm.bPanels),
      })
      return f
    },
  }
}

function packMatrix(f: FunctionBuilder, width: number, base: Local, [from, count]: readonly [Local, Local], columnStep: Local, adjacent: boolean, block: Block, step: Local, panels: Local): Code {
  return packColumns(f, width, { base, from, count, depth: block.kc, columnStep, adjacent, depthStep: { first: block.k0, step } }, panels)
}
