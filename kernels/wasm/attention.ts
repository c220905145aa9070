/**
 * Attention, o = softmax(scale·q·kᵀ + mask)·v, with the log-sum-exp of every score row for the backward.
 *
 * An item is one head and a run of query rows. It copies kᵀ and v to scratch as panels, then takes
 * 32 query rows at a time: their whole score rows stay in scratch (second-level cache), the softmax
 * happens in place, and the division by its sum comes last, on the output. A causal block computes
 * only the keys its last row may see. Each row's arithmetic depends on its block alone, and blocks
 * start at multiples of 32, so the split of rows over items changes no bit.
 * A row that is masked everywhere is 0, and its log-sum-exp +∞, which makes its gradient 0 as well.
 */
import { type Code, f32, f32x4, get, i32, type Local, loopRange, loopWhile, minimum, select, set, v128 } from './assembler.ts'
import type { Strided } from '../descriptor.ts'
import { Arguments, begin, end, Nest } from './arguments.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { Lanes, sumLanes } from './lanes.ts'
import { copyElements, copyRows, type Matrix, multiply, packPanels, packTransposed, zero } from './panels.ts'
import { ScratchAreas } from './scratch.ts'

export interface AttentionSizes {
  /** Batch axes, heads among them. */
  readonly batch: readonly number[]
  readonly queries: number
  readonly keys: number
  readonly dim: number
  readonly valueDim: number
  /** Query t sees the keys s ≤ t only. */
  readonly causal: boolean
  /** Strides of [...batch, query, key]: added to the scaled scores. */
  readonly mask?: Strided
  /** Strides of [...batch, position, component]. */
  readonly q: Strided
  readonly k: Strided
  readonly v: Strided
}

export interface AttentionOptions extends AttentionSizes {
  readonly out: Strided
}

export const pad = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple
export const queryBlock = 32
/** Bytes from one row of scores to the next: not a power of two, so that a block's rows do not compete for the same cache lines. */
export const scorePitch = (keysPad: number): number => 4 * keysPad + 64

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

  matrix(address: Local, rows: Code, elements: Code, firstRow?: Local): Matrix {
    const start = firstRow === undefined ? get(address) : i32.add(get(address), i32.mul(get(firstRow), get(this.row)))
    return { address: start, row: this.row, element: this.element, contiguous: this.contiguous, rows, elements }
  }
}

/** The scaled and masked scores of a row, `count` of them (a local, destroyed): `each` gets pairs of vectors, one vector, or one score in lane 0. */
export function scoreRow(lanes: Lanes, row: { scores: Local; mask: Local | undefined; maskHeads: Heads | undefined; scale: Local; count: Local }, each: (values: readonly Local[], scalar: boolean) => Code): Code {
  const { scores, mask, maskHeads, scale, count } = row
  const bias = (mask: Local, heads: Heads, into: Local, scalar: boolean): Code => {
    const lane = (k: number): Code => i32.add(get(mask), i32.mul(get(heads.element), i32.const(k)))
    const load = scalar ? set(into, v128.load32Zero(get(mask)))
      : heads.contiguous ? set(into, v128.load(get(mask)))
        : [set(into, v128.load32Zero(get(mask))), [1, 2, 3].map((k) => set(into, v128.load32Lane(lane(k), get(into), k)))]
    return [load, set(mask, lane(scalar ? 1 : 4))]
  }
  const width = (vectors: number, scalar: boolean): Code => {
    const [values, biases] = [lanes.temporaryList(vectors), lanes.temporaryList(vectors)]
    const n = scalar ? 1 : 4 * vectors
    const masked = mask === undefined || maskHeads === undefined ? [] : [
      biases.map((into) => bias(mask, maskHeads, into, scalar)),
      values.map((value, u) => { const b = biases[u]; return b === undefined ? [] : set(value, f32x4.add(get(value), get(b))) }),
    ]
    return loopWhile(i32.ge(get(count), i32.const(n)), [
      values.map((value, u) => set(value, f32x4.mul(scalar ? v128.load32Zero(get(scores)) : v128.load(get(scores), 16 * u), get(scale)))),
      masked, each(values, scalar),
      set(scores, i32.add(get(scores), i32.const(4 * n))), set(count, i32.sub(get(count), i32.const(n))), lanes.clear,
    ])
  }
  return [width(2, false), width(1, false), width(1, true)]
}

/** Inputs q, k, v, (mask), scale (one f32); outputs o, lse [...batch, queries]. */
export function attentionKernel(options: AttentionOptions, target: WasmTarget): WasmKernel {
  const { queries, keys, dim, valueDim, causal } = options
  const heads = options.batch.reduce((a, b) => a * b, 1)
  const runs = Math.min(Math.ceil(queries / queryBlock), Math.max(1, Math.ceil(16 / heads)))
  const rowsPerItem = pad(Math.ceil(queries / runs), queryBlock)
  const perHead = Math.ceil(queries / rowsPerItem)
  const [keysPad, dimPad, valuePad] = [pad(keys, 8), pad(dim, 4), pad(valueDim, 8)]
  const args = new Arguments()
  const masks = options.mask === undefined ? 0 : 1
  const [q, k, v, out] = [new Heads(args, 0, options.q), new Heads(args, 1, options.k), new Heads(args, 2, options.v), new Heads(args, 4 + masks, options.out)]
  const mask = options.mask === undefined ? undefined : new Heads(args, 3, options.mask)
  const [scaleAddress, lse] = [args.buffer(3 + masks), args.buffer(5 + masks)]
  const operands = [q, k, v, out, ...(mask === undefined ? [] : [mask])]
  const nest = new Nest(args, options.batch, operands.map((o) => o.batchStrides))
  const n = { queries: args.number(queries), keys: args.number(keys), dim: args.number(dim), valueDim: args.number(valueDim), keysPad: args.number(keysPad), dimPad: args.number(dimPad), valuePad: args.number(valuePad) }
  const [perHeadArg, rowsPerItemArg, scoreRowBytes, queryRowBytes, outRowBytes] = [args.number(perHead), args.number(rowsPerItem), args.number(scorePitch(keysPad)), args.number(4 * dimPad), args.number(4 * valuePad)]
  const areas = new ScratchAreas(args)
  const rows = Math.min(pad(queries, 4), queryBlock)
  const kPanels = areas.area(4 * keysPad * dimPad)
  const vPanels = areas.area(4 * keysPad * valuePad)
  const scores = areas.area(rows * scorePitch(keysPad))
  const queryRows = areas.area(4 * rows * dimPad)
  const outRows = areas.area(4 * rows * valuePad)
  const [sums, tops] = [areas.area(4 * rows), areas.area(4 * rows)]
  // Panels are cleared only where padding stays in them.
  const [kZero, vZero] = [args.number(keysPad === keys && dimPad === dim ? 0 : 4 * keysPad * dimPad), args.number(keysPad === keys && valuePad === valueDim ? 0 : 4 * keysPad * valuePad)]
  const queryBytes = args.number(4 * rows * dimPad)
  return {
    key: `attention ${operands.map((o) => (o.contiguous ? 'c' : 's')).join('')} ${nest.key}${causal ? ' causal' : ''}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: queries * valueDim === 0 ? 0 : heads * perHead,
    scratchBytes: areas.bytes,
    flops: heads * queries * keys * (2 * dim + 2 * valueDim + 25) * (causal ? 0.5 : 1),
    bytes: 4 * heads * (queries * (dim + valueDim + 1) + keys * (dim + valueDim)),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const i = (): Local => f.local('i32')
      const [item, head, rest, first, last, stop, limit, row, valid, left, at, maskAt] = [i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i()]
      const addresses = operands.map(() => i())
      const [qAt, kAt, vAt, outAt, maskBase] = addresses
      const [scale, largest, secondLargest, tailLargest, sum0, sum1] = [f.local('v128'), f.local('v128'), f.local('v128'), f.local('v128'), f.local('v128'), f.local('v128')]
      const top = f.local('f32')
      if (qAt === undefined || kAt === undefined || vAt === undefined || outAt === undefined) throw new Error('attention: operands')
      const [from, into, count] = [i(), i(), i()]
      const negativeInfinity = v128.splatF32(-Infinity)
      const fromRow = (base: Local, stepBytes: Local): Code => i32.add(get(base), i32.mul(get(row), get(stepBytes)))

      const pack = [
        zero(f, get(kPanels), get(kZero)),
        zero(f, get(vPanels), get(vZero)),
        packTransposed(f, lanes, k.matrix(kAt, get(n.keys), get(n.dim)), get(kPanels), get(n.keysPad), get(n.dimPad)),
        packPanels(f, lanes, v.matrix(vAt, get(n.keys), get(n.valueDim)), get(vPanels), get(n.valuePad), get(n.keysPad)),
      ]
      const [e0, e1, difference0, difference1] = [lanes.temporary(), lanes.temporary(), lanes.temporary(), lanes.temporary()]
      const laneMaximum = (x: Local): Code => f32.max(f32.max(f32x4.extract(get(x), 0), f32x4.extract(get(x), 1)), f32.max(f32x4.extract(get(x), 2), f32x4.extract(get(x), 3)))
      const topLanes = f.local('v128')
      const softmaxRow = [
        set(at, fromRow(scores, scoreRowBytes)),
        mask === undefined || maskBase === undefined ? [] : set(maskAt, i32.add(get(maskBase), i32.mul(i32.add(get(first), get(row)), get(mask.row)))),
        set(valid, causal ? minimum(get(n.keys), i32.add(i32.add(get(first), get(row)), i32.const(1))) : get(n.keys)),
        set(left, i32.sub(get(limit), get(valid))),
        set(largest, negativeInfinity), set(secondLargest, negativeInfinity), set(tailLargest, negativeInfinity),
        scoreRow(lanes, { scores: at, mask: mask === undefined ? undefined : maskAt, maskHeads: mask, scale, count: valid }, (values, scalar) => [
          values.map((value, u) => { const best = scalar ? tailLargest : u === 0 ? largest : secondLargest; return set(best, f32x4.pmax(get(best), get(value))) }),
          values.map((value, u) => (scalar ? v128.store32Lane(get(at), get(value), 0) : v128.store(get(at), get(value), 16 * u))),
        ]),
        set(largest, f32x4.pmax(get(largest), get(secondLargest))),
        loopWhile(get(left), [f32.store(get(at), f32.const(-Infinity)), set(at, i32.add(get(at), i32.const(4))), set(left, i32.sub(get(left), i32.const(1)))]),
        set(top, f32.max(laneMaximum(largest), f32x4.extract(get(tailLargest), 0))),
        // Nothing may be subtracted from itself where all scores are −∞.
        set(topLanes, f32x4.splat(select(f32.const(0), get(top), f32.eq(get(top), f32.const(-Infinity))))),
        set(sum0, v128.splatF32(0)), set(sum1, v128.splatF32(0)),
        set(at, fromRow(scores, scoreRowBytes)),
        loopRange(left, i32.const(0), get(limit), 8, [
          set(difference0, f32x4.sub(v128.load(get(at)), get(topLanes))), set(difference1, f32x4.sub(v128.load(get(at), 16), get(topLanes))),
          set(e0, lanes.exp(get(difference0))), set(e1, lanes.exp(get(difference1))),
          set(sum0, f32x4.add(get(sum0), get(e0))), set(sum1, f32x4.add(get(sum1), get(e1))),
          v128.store(get(at), get(e0)), v128.store(get(at), get(e1), 16),
          set(at, i32.add(get(at), i32.const(32))), lanes.clear,
        ]),
        set(sum0, f32x4.add(get(sum0), get(sum1))),
        f32.store(i32.add(get(sums), i32.shl(get(row), i32.const(2))), sumLanes(sum0)),
        f32.store(i32.add(get(tops), i32.shl(get(row), i32.const(2))), get(top)),
      ]
      /** The sums of a block become their inverses, and the log-sum-exps are written. */
      const [total, peak, masked] = [lanes.temporary(), lanes.temporary(), lanes.temporary()]
      const statistics = [
        loopRange(row, i32.const(0), get(rest), 4, [
          set(at, i32.add(get(sums), i32.shl(get(row), i32.const(2)))), set(into, i32.add(get(tops), i32.shl(get(row), i32.const(2)))),
          set(total, v128.load(get(at))), set(peak, v128.load(get(into))),
          set(masked, f32x4.eq(get(total), lanes.f32(0))),
          set(peak, v128.select(v128.splatF32(Infinity), f32x4.add(get(peak), lanes.log(get(total))), get(masked))),
          v128.store(get(into), get(peak)),
          v128.store(get(at), v128.andnot(f32x4.div(lanes.f32(1), get(total)), get(masked))),
          lanes.clear,
        ]),
        set(into, i32.add(get(lse), i32.shl(i32.add(i32.mul(get(head), get(n.queries)), get(first)), i32.const(2)))),
        set(from, get(tops)), set(count, get(rest)),
        copyElements(f, lanes, { element: out.element, contiguous: true }, from, into, count),
      ]
      const factor = f.local('v128')
      const scaled = lanes.temporaryList(2)
      const advance = (bytes: number, step: Code): Code => [set(from, i32.add(get(from), i32.const(bytes))), set(into, i32.add(get(into), step)), set(count, i32.sub(get(count), i32.const(bytes / 4)))]
      const writeVectors = (vectors: number): Code => loopWhile(i32.ge(get(count), i32.const(4 * vectors)), [
        scaled.slice(0, vectors).map((value, u) => set(value, f32x4.mul(v128.load(get(from), 16 * u), get(factor)))),
        scaled.slice(0, vectors).map((value, u) => v128.store(get(into), get(value), 16 * u)),
        advance(16 * vectors, i32.const(16 * vectors)), lanes.clear,
      ])
      const writeRow = [
        set(from, fromRow(outRows, outRowBytes)),
        set(into, i32.add(get(outAt), i32.mul(i32.add(get(first), get(row)), get(out.row)))),
        set(factor, v128.load32Splat(i32.add(get(sums), i32.shl(get(row), i32.const(2))))),
        set(count, get(n.valueDim)),
        out.contiguous ? [writeVectors(2), writeVectors(1)] : [],
        loopWhile(get(count), [f32.store(get(into), f32.mul(f32.load(get(from)), f32x4.extract(get(factor), 0))), advance(4, get(out.element))]),
      ]
      const block = [
        set(last, minimum(i32.add(get(first), i32.const(queryBlock)), get(stop))),
        set(rest, i32.sub(get(last), get(first))), // rows of this block
        set(limit, causal ? minimum(i32.and(i32.add(minimum(get(last), get(n.keys)), i32.const(15)), i32.const(-16)), get(n.keysPad)) : get(n.keysPad)),
        copyRows(f, lanes, q.matrix(qAt, get(rest), get(n.dim), first), (r) => i32.add(get(queryRows), i32.mul(get(r), get(queryRowBytes)))),
        multiply(f, lanes, { a: get(queryRows), aRow: queryRowBytes, aTerm: 'contiguous', b: get(kPanels), bDepth: get(n.dimPad), c: get(scores), cRow: scoreRowBytes, rows: get(rest), columns: get(limit), depth: get(n.dimPad), add: false }),
        loopRange(row, i32.const(0), get(rest), 1, softmaxRow),
        statistics,
        multiply(f, lanes, { a: get(scores), aRow: scoreRowBytes, aTerm: 'contiguous', b: get(vPanels), bDepth: get(n.keysPad), c: get(outRows), cRow: outRowBytes, rows: get(rest), columns: get(n.valuePad), depth: get(limit), add: false }),
        loopRange(row, i32.const(0), get(rest), 1, writeRow),
      ]
      const code = [
        areas.prologue(),
        set(scale, v128.load32Splat(get(scaleAddress))),
        // The padding of query rows stays zero: it meets zeros of kᵀ and must be finite.
        zero(f, get(queryRows), get(queryBytes)),
        loopRange(item, get(begin), get(end), 1, [
          set(head, i32.divu(get(item), get(perHeadArg))),
          operands.map((o, k) => { const address = addresses[k]; return address === undefined ? [] : set(address, get(o.address)) }),
          set(rest, get(head)), nest.locate(f, rest, addresses),
          pack,
          set(first, i32.mul(i32.remu(get(item), get(perHeadArg)), get(rowsPerItemArg))),
          set(stop, minimum(i32.add(get(first), get(rowsPerItemArg)), get(n.queries))),
          loopWhile(i32.lt(get(first), get(stop)), [block, set(first, get(last))]),
        ]),
      ]
      f.emit(lanes.prologue, code)
      return f
    },
  }
}
