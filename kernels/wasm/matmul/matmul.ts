/**
 * Matrix products of strided matrices, in batches: out = a·b, or an epilogue of it. Transposes, broadcasts and flips are strides.
 * Every matrix of the batch is one problem of the blocked product in `gemm.ts`. If the output's rows
 * are the adjacent ones, the transposed product is computed: outᵀ = bᵀ·aᵀ.
 */
import type { Epilogue, MatmulDescriptor, Operand, Strided } from '../../ir/descriptor.ts'
import { Arguments, Nest } from '../core/arguments.ts'
import { type Code, type FunctionBuilder, i32, type Local, set } from '../core/assembler.ts'
import { columnAccess, emitEpilogue, epilogueCost, epilogueKey, type EpilogueOperand, operandBytes } from './epilogue.ts'
import { type GemmBlock, blockLocals, emitGemm, Gemm } from './gemm.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { packColumns, packRows } from './pack.ts'

/** One operand as the product sees it: strides in bytes. */
export interface Matrix {
  readonly buffer: number
  readonly offset: number
  readonly batch: readonly number[]
  readonly row: number
  readonly column: number
}

function matrix({ strides, offset }: Strided, buffer: number, rank: number, transposed: boolean, elementBytes = 4): Matrix {
  const bytes = strides.map((s) => elementBytes * s)
  const [row = 0, column = 0] = bytes.slice(rank)
  return { buffer, offset: elementBytes * offset, batch: bytes.slice(0, rank), row: transposed ? column : row, column: transposed ? row : column }
}

/** The product as it is computed. */
interface Oriented {
  readonly transposed: boolean
  readonly m: number
  readonly n: number
  readonly a: Matrix
  /** The operand whose panels are packed for a block of columns. */
  readonly b: Matrix
}

export function orient(d: MatmulDescriptor): Oriented {
  const rank = d.batch.length
  const [outRow = 0, outColumn = 0] = d.out.strides.slice(rank)
  const transposed = d.n > 1 && outColumn !== 1 && (outRow === 1 || d.m === 1)
  const [a, b] = [matrix(d.a, 0, rank, transposed), matrix(d.b, 1, rank, transposed)]
  return transposed ? { transposed, m: d.n, n: d.m, a: b, b: a } : { transposed, m: d.m, n: d.n, a, b }
}

/** Buffers: a, b, the epilogue's inputs, out. */
export function matmulKernel(d: MatmulDescriptor, target: WasmTarget, epilogue?: Epilogue): WasmKernel {
  const rank = d.batch.length
  const { transposed, m, n, a, b } = orient(d)
  const inputs: readonly Operand[] = epilogue?.inputs ?? []
  const out = matrix(d.out, 2 + inputs.length, rank, transposed)
  const others = inputs.map((o, i) => matrix(o, 2 + i, rank, transposed, operandBytes(o)))
  const accesses = inputs.map((o, i) => columnAccess((others[i]?.column ?? 0) / operandBytes(o)))
  const problems = d.batch.reduce((product, size) => product * size, 1)
  const packed = d.packed === true
  const layout = a.column === 4 || d.k <= 1 ? 'rows' : 'interleaved'
  const [aAdjacent, bAdjacent, outAdjacent] = [a.row === 4, b.column === 4, out.column === 4]
  const bDepthAdjacent = b.row === 4
  const cost = epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(epilogue, [...d.batch, d.m, d.n])

  const args = new Arguments()
  const operands = [a, b, out, ...others]
  const origins = operands.map((o) => args.buffer(o.buffer, o.offset))
  const nest = new Nest(args, d.batch, operands.map((o) => o.batch))
  const gemm = new Gemm(args, { problems, m, n, k: d.k }, { target, layout, packed })
  const size = { m: args.number(m), n: args.number(n), k: args.number(d.k) }
  const stepsOf = (o: Matrix): { row: Local; column: Local } => ({ row: args.number(o.row), column: args.number(o.column) })
  const [aStep, bStep, outStep] = [stepsOf(a), stepsOf(b), stepsOf(out)]
  const otherSteps = others.map(stepsOf)

  return {
    key: `matmul:${nest.key},${gemm.key},${aAdjacent},${bAdjacent},${bDepthAdjacent},${outAdjacent},${epilogue === undefined ? '' : epilogueKey(epilogue, accesses)}`,
    args: args.list,
    items: gemm.items,
    divisible: packed,
    scratchBytes: gemm.scratch.bytes,
    flops: 2 * problems * m * n * d.k + cost.flops,
    bytes: 4 * problems * (m * d.k + d.k * n + m * n) + cost.bytes,
    build() {
      const f = args.open()
      const block = blockLocals(f)
      const local = (): Local => f.local('i32')
      const [aBase, bBase, outBase] = [local(), local(), local()]
      const addresses = [aBase, bBase, outBase, ...others.map(local)]
      const rowsBy = (step: Local) => (row: Code): Code => i32.mul(i32.add(block.m0, row), step)
      const operand = (i: number): EpilogueOperand => {
        const { row, column } = otherSteps[i] ?? outStep
        return { dtype: inputs[i]?.dtype ?? 'f32', access: accesses[i] ?? 'lanes', base: addresses[3 + i] ?? outBase, row: rowsBy(row), columnStep: column }
      }
      const whole: EpilogueOperand = { dtype: 'f32', access: outAdjacent ? 'vector' : 'lanes', base: outBase, row: rowsBy(outStep.row), columnStep: outStep.column }
      emitGemm(f, gemm, block, {
        ...size,
        out: outBase,
        rowStep: outStep.row,
        columnStep: outStep.column,
        adjacent: outAdjacent,
        epilogue: epilogue && emitEpilogue(f, block, epilogue, inputs.map((_, i) => operand(i)), whole),
        enter: () => nest.place(f, block.problem, addresses, origins),
        packA: () => layout === 'rows'
          ? packRows(f, gemm.tile.rows, { base: aBase, from: block.m0, count: block.mc, first: block.k0, depth: block.kc, rowStep: aStep.row }, gemm.aPanels)
          : packMatrix(f, gemm.tile.rows, aBase, [block.m0, block.mc], aStep.row, [aAdjacent, a.column === 4], block, aStep.column, gemm.aPanels),
        packB: () => packed
          ? set(gemm.bPanels, panelsAt(bBase, block, bStep.row))
          : packMatrix(f, 4 * gemm.tile.vectors, bBase, [block.n0, block.nc], bStep.column, [bAdjacent, bDepthAdjacent], block, bStep.row, gemm.bPanels),
      })
      return f
    },
  }
}

function packMatrix(f: FunctionBuilder, width: number, base: Local, [from, count]: readonly [Local, Local], columnStep: Local, [adjacent, depthAdjacent]: readonly [boolean, boolean], block: GemmBlock, step: Local, panels: Local): Code {
  return packColumns(f, width, { base, from, count, depth: block.kc, columnStep, adjacent, depthAdjacent, first: block.k0, depthStep: step }, panels)
}

/** Where the panels of a block begin, if all of a matrix lie at `base`: `row` bytes for each k, block of k after block of k. */
export const panelsAt = (base: Local, { k0, kc, n0 }: Pick<GemmBlock, 'k0' | 'kc' | 'n0'>, row: Local): Code =>
  i32.add(base, i32.add(i32.mul(k0, row), i32.shl(i32.mul(n0, kc), 2)))
