/**
 * Kernels drawn at random for 256-bit code to fail on: maps, reductions and epilogues of products over expressions that keep up to 40
 * values at once, so that registers are short, and norms, softmax, attention and convolutions of odd sizes.
 */
import type { Epilogue, Operand, ReduceOp } from '../../kernels/ir/descriptor.ts'
import { accumulator, binary, choose, constant, index, load, unary } from '../../kernels/ir/expression.ts'
import type { BinaryOp, Expression, UnaryOp } from '../../kernels/ir/expression.ts'
import { attentionKernel } from '../../kernels/wasm/attention/attention.ts'
import { attentionGradKernel } from '../../kernels/wasm/attention/attentionGrad.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../kernels/wasm/conv/conv.ts'
import { groupNormKernel } from '../../kernels/wasm/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../kernels/wasm/norm/groupNormGrad.ts'
import type { WasmKernel, WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../kernels/wasm/norm/layerNorm.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { matmulKernel } from '../../kernels/wasm/matmul/matmul.ts'
import { reduceKernel } from '../../kernels/wasm/reduce/reduce.ts'
import { softmaxGradKernel, softmaxKernel } from '../../kernels/wasm/norm/softmax.ts'

export interface WideCase {
  readonly kind: string
  readonly make: (target: WasmTarget) => WasmKernel
  /** Floats of its buffers, inputs first. */
  readonly sizes: readonly number[]
}

/** Numbers from 0 to 1, excluded, by Mulberry32. */
export function drawsFrom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

class Draw {
  private readonly next: () => number

  constructor(seed: number) {
    this.next = drawsFrom(seed)
  }

  /** An integer, low ≤ n ≤ high. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  one<T>(list: readonly [T, ...T[]]): T {
    return list[this.between(0, list.length - 1)] ?? list[0]
  }

  often(share: number): boolean {
    return this.next() < share
  }
}

const functions: readonly [UnaryOp, ...UnaryOp[]] = ['neg', 'abs', 'sign', 'sqrt', 'floor', 'round', 'exp', 'log', 'log2', 'expm1', 'log1p', 'sin', 'cos', 'tanh', 'erf', 'sigmoid']
const pairs: readonly [BinaryOp, ...BinaryOp[]] = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pow', 'atan2']
const comparisons: readonly [BinaryOp, ...BinaryOp[]] = ['lt', 'le', 'eq', 'ne']
const onIntegers: readonly [BinaryOp, ...BinaryOp[]] = ['add', 'sub', 'mul', 'and', 'or', 'xor', 'min', 'max', 'idiv', 'rem']

/** An f32 of the leaves, of which each is met with another, so that all of them wait for their turn. */
function expression(draw: Draw, leaves: readonly Expression[]): Expression {
  const leaf = (): Expression => leaves[draw.between(0, leaves.length - 1)] ?? constant(1, 'f32')
  const number = (): Expression => constant(Math.fround(draw.between(-40, 40) / 16), 'f32')
  const value = (): Expression => {
    const x = leaf()
    if (draw.often(0.5)) return unary(draw.one(functions), draw.often(0.3) ? binary(draw.one(pairs), x, number()) : x)
    if (draw.often(0.2)) return unary('cast', binary(draw.one(onIntegers), unary('cast', x, 'i32'), unary('cast', leaf(), 'i32')), 'f32')
    return draw.often(0.4) ? choose(binary(draw.one(comparisons), x, number()), leaf(), number()) : binary(draw.one(pairs), x, draw.often(0.5) ? number() : leaf())
  }
  const values = Array.from({ length: draw.one([draw.between(16, 40), draw.between(4, 16), draw.between(1, 4)]) }, value)
  if (values.length === 1) return values[0] ?? number()
  const offset = draw.between(1, values.length - 1)
  return values.map((x, i) => binary(draw.one(pairs), x, values[(i + offset) % values.length] ?? x)).reduce((sum, x) => {
    const bounded = draw.often(0.3) ? unary(draw.one(['tanh', 'sigmoid'] as const), x) : x
    return draw.often(0.15) ? choose(binary(draw.one(comparisons), sum, bounded), sum, bounded) : binary(draw.one(['add', 'max', 'min', 'sub'] as const), sum, bounded)
  })
}

const operand = (strides: readonly number[], offset = 0): Operand => ({ dtype: 'f32', strides, offset })
const length = (draw: Draw): number => draw.one([draw.between(1, 70), draw.between(64, 400), draw.between(400, 3000)])

function map(draw: Draw): WideCase {
  const [rows, n] = [draw.between(1, 4), length(draw)]
  const inputs = Array.from({ length: draw.between(1, 8) }, () => operand(draw.one<readonly number[]>([[n, 1], [0, 1], [1, 0], [0, 0], [2 * n, 2]])))
  const value = expression(draw, inputs.map((_, i) => load(i, 'f32')))
  return { kind: 'map', sizes: [...inputs.map(() => 2 * rows * n), rows * n], make: () => mapKernel({ shape: [rows, n], inputs, outputs: [{ operand: operand([n, 1]), value }] }) }
}

function reduction(draw: Draw): WideCase {
  const [kept, n] = [draw.between(1, 5), length(draw)]
  const columns = draw.often(0.4)
  // Over [kept, reduced], or with columns over [n, kept], of which the last is folded.
  const layouts = columns ? ([[1, n], [1, 0], [0, 1], [0, 0]] as const) : ([[n, 1], [0, 1], [1, 0], [0, 0], [2 * n, 2]] as const)
  const inputs = Array.from({ length: draw.between(1, 8) }, () => operand(draw.one<readonly number[]>(layouts)))
  const positions = draw.often(0.3) ? [unary('cast', index(1), 'f32')] : []
  const element = expression(draw, [...inputs.map((_, i) => load(i, 'f32')), ...positions])
  const op: ReduceOp = draw.one(['sum', 'max', 'min', 'prod'])
  const folded = op === 'prod' ? binary('add', constant(1, 'f32'), binary('mul', constant(0.001, 'f32'), unary('tanh', element))) : element
  const value = draw.often(0.5) ? accumulator('f32') : unary(draw.one(functions), accumulator('f32'))
  const [shape, reduced] = columns ? [[n], [kept]] : [[kept], [n]]
  return { kind: columns ? 'columns' : 'rows', sizes: [...inputs.map(() => 2 * kept * n), n * kept], make: () => reduceKernel({ op, shape, reduced, inputs, element: folded, outputs: [{ operand: operand([1]), value }] }) }
}

function epilogueOver(draw: Draw, strides: readonly (readonly number[])[], size: number): { readonly epilogue: Epilogue | undefined; readonly sizes: number[] } {
  if (draw.often(0.2)) return { epilogue: undefined, sizes: [] }
  const [first = [], ...rest] = strides
  const inputs = Array.from({ length: draw.between(0, 6) }, () => operand(draw.one([first, ...rest])))
  return { epilogue: { inputs, value: expression(draw, [accumulator('f32'), ...inputs.map((_, i) => load(i, 'f32'))]) }, sizes: inputs.map(() => size) }
}

function product(draw: Draw): WideCase {
  const [m, k, n] = [draw.between(1, 40), draw.between(1, 90), draw.between(1, 70)]
  const matrix = (rows: number, columns: number): { strides: number[]; offset: number } => ({ strides: draw.often(0.5) ? [columns, 1] : [1, rows], offset: 0 })
  const [a, b, out] = [matrix(m, k), matrix(k, n), matrix(m, n)]
  const { epilogue, sizes } = epilogueOver(draw, [out.strides, [0, 1], [1, 0], [0, 0]], m * n)
  return { kind: 'product', sizes: [m * k, k * n, ...sizes, m * n], make: (target) => matmulKernel({ batch: [], m, k, n, a, b, out }, target, epilogue) }
}

function convolution(draw: Draw): WideCase {
  const [batch, inChannels, outChannels, size] = [draw.between(1, 3), draw.between(1, 36), draw.between(1, 40), draw.between(3, 12)]
  const stride = draw.between(1, 2)
  const output = Math.floor((size - 1) / stride) + 1
  const last = draw.often(0.7)
  const image = (channels: number, side: number): { strides: number[]; offset: number } => ({ strides: last ? [side * side * channels, 1, side * channels, channels] : [side * side * channels, side * side, side, 1], offset: 0 })
  const d = {
    batch, inChannels, outChannels, groups: 1, input: [size, size], output: [output, output], kernel: [3, 3], stride: [stride, stride], padding: [1, 1], dilation: [1, 1],
    x: image(inChannels, size), y: image(outChannels, output), w: { strides: [inChannels * 9, 9, 3, 1], offset: 0 },
  }
  const [x, w, y] = [batch * inChannels * size * size, outChannels * inChannels * 9, batch * outChannels * output * output]
  const which = draw.between(0, 2)
  if (which === 2) return { kind: 'convWeightGrad', sizes: [x, y, w], make: (target) => convWeightGradKernel(d, target) }
  const [to, elements] = which === 0 ? [d.y, y] : [d.x, x]
  const { epilogue, sizes } = epilogueOver(draw, [to.strides, [0, 1, 0, 0], [0, 0, 0, 0]], elements)
  return which === 0
    ? { kind: 'conv', sizes: [x, w, ...sizes, y], make: (target) => convKernel(d, target, epilogue) }
    : { kind: 'convInputGrad', sizes: [y, w, ...sizes, x], make: (target) => convInputGradKernel(d, target, epilogue) }
}

function norm(draw: Draw): WideCase {
  const [batch, groups, perGroup, spatial] = [draw.between(1, 3), draw.between(1, 4), draw.between(1, 20), draw.between(1, 90)]
  const channels = groups * perGroup
  const [all, silu] = [batch * channels * spatial, draw.often(0.6)]
  const x = draw.often(0.5) ? { strides: [channels * spatial, spatial, 1], offset: 0 } : { strides: [channels * spatial, 1, channels], offset: 0 }
  const sizes = { batch, channels, groups, spatial, silu }
  return draw.often(0.5)
    ? { kind: 'groupNorm', sizes: [all, channels, channels, all, batch * groups, batch * groups], make: (target) => groupNormKernel({ ...sizes, x, y: x, eps: 1e-5 }, target) }
    : { kind: 'groupNormGrad', sizes: [all, all, channels, channels, batch * groups, batch * groups, all, batch * channels, batch * channels], make: (target) => groupNormGradKernel({ ...sizes, dy: x, x, dx: x }, target) }
}

function rowKernel(draw: Draw): WideCase {
  const [rows, n] = [draw.between(1, 6), length(draw)]
  const [x, all, centred] = [{ strides: draw.often(0.7) ? [n, 1] : [1, rows], offset: 0 }, rows * n, draw.often(0.6)]
  return draw.one<() => WideCase>([
    () => ({ kind: 'layerNorm', sizes: [all, n, n, all, rows, rows], make: (target) => layerNormKernel({ rows, length: n, centred, x, y: x, eps: 1e-5 }, target) }),
    () => ({ kind: 'layerNormGrad', sizes: [all, all, n, rows, rows, all], make: (target) => layerNormGradKernel({ rows, length: n, centred, dy: x, x, dx: x }, target) }),
    () => ({ kind: 'softmax', sizes: [all, all], make: (target) => softmaxKernel({ rows, length: n, x, y: x }, target) }),
    () => ({ kind: 'softmaxGrad', sizes: [all, all, all], make: (target) => softmaxGradKernel({ rows, length: n, y: x, dy: x, dx: x }, target) }),
  ])()
}

function attention(draw: Draw): WideCase {
  const [heads, queries, keys, dim, valueDim] = [draw.between(1, 3), draw.between(1, 70), draw.between(1, 70), draw.between(1, 40), draw.between(1, 40)]
  const of = (rows: number, columns: number): { strides: number[]; offset: number } => ({ strides: [rows * columns, columns, 1], offset: 0 })
  const d = { batch: [heads], queries, keys, dim, valueDim, causal: draw.often(0.3), q: of(queries, dim), k: of(keys, dim), v: of(keys, valueDim), out: of(queries, valueDim) }
  const [q, k, v, out] = [heads * queries * dim, heads * keys * dim, heads * keys * valueDim, heads * queries * valueDim]
  return draw.often(0.5)
    ? { kind: 'attention', sizes: [q, k, v, 1, out, heads * queries], make: (target) => attentionKernel(d, target) }
    : { kind: 'attentionGrad', sizes: [q, k, v, 1, out, heads * queries, out, q, k, v], make: (target) => attentionGradKernel({ ...d, dout: d.out, dq: d.q, dk: d.k, dv: d.v }, target) }
}

export function wideCase(seed: number): WideCase {
  const draw = new Draw(seed)
  return draw.one([map, map, reduction, reduction, reduction, product, convolution, norm, rowKernel, attention])(draw)
}
