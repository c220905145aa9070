/**
 * Softmax of rows, y = exp(x − max) / Σ exp(x − max), and its gradient dx = y·(dy − Σ dy·y).
 *
 * An item is one row. Rows whose elements are not neighbours are copied to scratch, worked on there
 * and copied back, so that the arithmetic is that of contiguous rows: pairs of vectors with a sum
 * each, then single vectors, then single elements. NaN makes its whole row NaN, as does an infinity.
 */
import { type Code, f32, f32x4, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, set, v128 } from './assembler.ts'
import type { Strided } from '../descriptor.ts'
import { Arguments, begin, end } from './arguments.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { Lanes, sumLanes } from './lanes.ts'
import { ScratchAreas } from './scratch.ts'

export interface SoftmaxOptions {
  readonly rows: number
  readonly length: number
  /** Strides of [row, element]. */
  readonly x: Strided
  readonly y: Strided
}

export interface SoftmaxGradOptions {
  readonly rows: number
  readonly length: number
  /** Strides of [row, element]. */
  readonly y: Strided
  readonly dy: Strided
  readonly dx: Strided
}

/** An operand whose rows are worked on in place if their elements are neighbours, and in scratch otherwise. */
class Rows {
  readonly contiguous: boolean
  private readonly address: Local
  private readonly row: Local
  private readonly element: Local
  private readonly copy: Local | undefined

  constructor(args: Arguments, areas: ScratchAreas, buffer: number, { strides: [row = 0, element = 0], offset }: Strided, length: number) {
    this.contiguous = element === 1 || length === 1
    this.address = args.buffer(buffer, 4 * offset)
    this.row = args.number(4 * row)
    this.element = args.number(4 * element)
    this.copy = this.contiguous ? undefined : areas.area(4 * length)
  }

  /** Sets `at` to contiguous room for row `item`. */
  room(item: Local, at: Local): Code {
    return set(at, this.copy === undefined ? i32.add(get(this.address), i32.mul(get(item), get(this.row))) : get(this.copy))
  }

  /** Fills the room of an input. */
  read(f: FunctionBuilder, item: Local, length: Local): Code {
    return this.walk(f, item, length, (far, near) => f32.store(near, f32.load(far)))
  }

  /** Empties the room of an output. */
  write(f: FunctionBuilder, item: Local, length: Local): Code {
    return this.walk(f, item, length, (far, near) => f32.store(far, f32.load(near)))
  }

  private walk(f: FunctionBuilder, item: Local, length: Local, move: (far: Code, near: Code) => Code): Code {
    if (this.copy === undefined) return []
    const [far, near, left] = [f.local('i32'), f.local('i32'), f.local('i32')]
    return [
      set(far, i32.add(get(this.address), i32.mul(get(item), get(this.row)))),
      set(near, get(this.copy)), set(left, get(length)),
      loopWhile(get(left), [
        move(get(far), get(near)),
        set(far, i32.add(get(far), get(this.element))), set(near, i32.add(get(near), i32.const(4))), set(left, i32.sub(get(left), i32.const(1))),
      ]),
    ]
  }
}

/** Walks the elements of rows at `bases`: `vectors` at a time, then one vector, then one element in lane 0. `body` has the code of one step. */
function walkRow(f: FunctionBuilder, lanes: Lanes, bases: readonly Local[], length: Local, body: (pointers: readonly Local[], vectors: number, scalar: boolean) => Code): Code {
  const pointers = bases.map(() => f.local('i32'))
  const left = f.local('i32')
  const run = (vectors: number, scalar: boolean): Code => {
    const elements = scalar ? 1 : 4 * vectors
    const code = body(pointers, vectors, scalar)
    return loopWhile(i32.ge(get(left), i32.const(elements)), [
      code,
      pointers.map((p) => set(p, i32.add(get(p), i32.const(4 * elements)))),
      set(left, i32.sub(get(left), i32.const(elements))),
      lanes.clear,
    ])
  }
  return [
    bases.map((base, k) => { const p = pointers[k]; return p === undefined ? [] : set(p, get(base)) }),
    set(left, get(length)),
    run(2, false), run(1, false), run(1, true),
  ]
}

const loadAt = (pointer: Local | undefined, u: number, scalar: boolean): Code => (pointer === undefined ? [] : scalar ? v128.load32Zero(get(pointer)) : v128.load(get(pointer), 16 * u))
const storeAt = (pointer: Local | undefined, u: number, scalar: boolean, value: Local): Code => (pointer === undefined ? [] : scalar ? v128.store32Lane(get(pointer), get(value), 0) : v128.store(get(pointer), get(value), 16 * u))
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Input x; output y. */
export function softmaxKernel({ rows, length, x, y }: SoftmaxOptions, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const [input, output] = [new Rows(args, areas, 0, x, length), new Rows(args, areas, 1, y, length)]
  const count = args.number(length)
  return {
    key: `softmax ${input.contiguous}${output.contiguous}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 25 * rows * length,
    bytes: 8 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [item, from, to] = [f.local('i32'), f.local('i32'), f.local('i32')]
      const [large0, large1, tail, sum0, sum1, tailSum, top, inverse] = range(8).map(() => f.local('v128'))
      if (large0 === undefined || large1 === undefined || tail === undefined || sum0 === undefined || sum1 === undefined || tailSum === undefined || top === undefined || inverse === undefined) throw new Error('softmax: locals')
      const lane = (k: number): Code => f32x4.extract(get(large0), k)
      const code = [
        areas.prologue(),
        loopRange(item, get(begin), get(end), 1, [
          input.room(item, from), output.room(item, to), input.read(f, item, count),
          [large0, large1, tail].map((local) => set(local, v128.splatF32(-Infinity))),
          // pmax passes NaN over; it shows in the sum.
          walkRow(f, lanes, [from], count, ([p], vectors, scalar) => range(vectors).map((u) => {
            const largest = scalar ? tail : u === 0 ? large0 : large1
            return set(largest, f32x4.pmax(get(largest), loadAt(p, u, scalar)))
          })),
          set(large0, f32x4.pmax(get(large0), get(large1))),
          set(top, f32x4.splat(f32.max(f32.max(f32.max(lane(0), lane(1)), f32.max(lane(2), lane(3))), f32x4.extract(get(tail), 0)))),
          [sum0, sum1, tailSum].map((local) => set(local, v128.splatF32(0))),
          walkRow(f, lanes, [from, to], count, ([p, q], vectors, scalar) => {
            const values = lanes.temporaryList(vectors)
            return [
              values.map((value, u) => set(value, f32x4.sub(loadAt(p, u, scalar), get(top)))),
              values.map((value) => set(value, lanes.exp(get(value)))),
              values.map((value, u) => { const sum = scalar ? tailSum : u === 0 ? sum0 : sum1; return set(sum, f32x4.add(get(sum), get(value))) }),
              values.map((value, u) => storeAt(q, u, scalar, value)),
            ]
          }),
          set(sum0, f32x4.add(get(sum0), get(sum1))),
          set(inverse, f32x4.splat(f32.div(f32.const(1), f32.add(sumLanes(sum0), f32x4.extract(get(tailSum), 0))))),
          walkRow(f, lanes, [to], count, ([q], vectors, scalar) => {
            const values = lanes.temporaryList(vectors)
            return [values.map((value, u) => set(value, f32x4.mul(loadAt(q, u, scalar), get(inverse)))), values.map((value, u) => storeAt(q, u, scalar, value))]
          }),
          output.write(f, item, count),
        ]),
      ]
      f.emit(lanes.prologue, code)
      return f
    },
  }
}

/** Inputs y, dy; output dx. */
export function softmaxGradKernel({ rows, length, y, dy, dx }: SoftmaxGradOptions, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const operands = [y, dy, dx].map((strided, buffer) => new Rows(args, areas, buffer, strided, length))
  const count = args.number(length)
  return {
    key: `softmaxGrad ${operands.map((o) => o.contiguous).join('')}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 4 * rows * length,
    bytes: 12 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const item = f.local('i32')
      const bases = operands.map(() => f.local('i32'))
      const [sum0, sum1, tail, dot] = range(4).map(() => f.local('v128'))
      if (sum0 === undefined || sum1 === undefined || tail === undefined || dot === undefined) throw new Error('softmaxGrad: locals')
      const code = [
        areas.prologue(),
        loopRange(item, get(begin), get(end), 1, [
          operands.map((o, k) => { const base = bases[k]; return base === undefined ? [] : [o.room(item, base), k < 2 ? o.read(f, item, count) : []] }),
          [sum0, sum1, tail].map((local) => set(local, v128.splatF32(0))),
          walkRow(f, lanes, bases.slice(0, 2), count, ([p, q], vectors, scalar) => range(vectors).map((u) => {
            const sum = scalar ? tail : u === 0 ? sum0 : sum1
            return set(sum, lanes.madd(loadAt(p, u, scalar), loadAt(q, u, scalar), get(sum)))
          })),
          set(sum0, f32x4.add(get(sum0), get(sum1))),
          set(dot, f32x4.splat(f32.add(sumLanes(sum0), f32x4.extract(get(tail), 0)))),
          walkRow(f, lanes, bases, count, ([p, q, r], vectors, scalar) => {
            const values = lanes.temporaryList(vectors)
            return [
              values.map((value, u) => set(value, f32x4.mul(loadAt(p, u, scalar), f32x4.sub(loadAt(q, u, scalar), get(dot))))),
              values.map((value, u) => storeAt(r, u, scalar, value)),
            ]
          }),
          operands.slice(2).map((o) => o.write(f, item, count)),
        ]),
      ]
      f.emit(lanes.prologue, code)
      return f
    },
  }
}
