/**
 * Gradient of attention. With scores s = scale·q·kᵀ + mask, the probabilities are recomputed as
 * p = exp(s − lse); then dv = pᵀ·do, dp = do·vᵀ, ds = p∘(dp − D) with D = rowsum(do∘o), and
 * dq = scale·ds·k, dk = scale·dsᵀ·q.
 *
 * An item is one head: nothing is added up across items. It copies kᵀ, vᵀ and k to scratch as
 * panels, then takes 32 query rows at a time: p and ds of those rows stay in scratch, dq is finished,
 * and dk and dv grow in scratch in the order of the blocks.
 */
import { type Code, f32, f32x4, get, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from './assembler.ts'
import type { Strided } from '../descriptor.ts'
import { Arguments, begin, end, Nest } from './arguments.ts'
import { type AttentionSizes, Heads, pad, queryBlock, scorePitch, scoreRow } from './attention.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { Lanes, sumLanes } from './lanes.ts'
import { copyElements, copyRows, multiply, packPanels, packTransposed, zero } from './panels.ts'
import { ScratchAreas } from './scratch.ts'

export interface AttentionGradOptions extends AttentionSizes {
  /** Strides of [...batch, position, component]. */
  readonly out: Strided
  readonly dout: Strided
  readonly dq: Strided
  readonly dk: Strided
  readonly dv: Strided
}

/** Inputs q, k, v, (mask), scale (one f32), o, lse [...batch, queries], do; outputs dq, dk, dv. */
export function attentionGradKernel(options: AttentionGradOptions, target: WasmTarget): WasmKernel {
  const { queries, keys, dim, valueDim, causal } = options
  const heads = options.batch.reduce((a, b) => a * b, 1)
  const masks = options.mask === undefined ? 0 : 1
  const args = new Arguments()
  const operand = (buffer: number, strided: Strided): Heads => new Heads(args, buffer, strided)
  const [q, k, v, o] = [operand(0, options.q), operand(1, options.k), operand(2, options.v), operand(4 + masks, options.out)]
  const [dout, dq, dk, dv] = [operand(6 + masks, options.dout), operand(7 + masks, options.dq), operand(8 + masks, options.dk), operand(9 + masks, options.dv)]
  const mask = options.mask === undefined ? undefined : operand(3, options.mask)
  const [scaleAddress, lse] = [args.buffer(3 + masks), args.buffer(5 + masks)]
  const operands = [q, k, v, o, dout, dq, dk, dv, ...(mask === undefined ? [] : [mask])]
  const nest = new Nest(args, options.batch, operands.map((h) => h.batchStrides))

  // Lengths padded to 4 are depths of products, those padded to 8 are columns.
  const rows = Math.min(pad(queries, 4), queryBlock)
  const [keysPad, dim4, dim8, value4, value8] = [pad(keys, 8), pad(dim, 4), pad(dim, 8), pad(valueDim, 4), pad(valueDim, 8)]
  const n = { queries: args.number(queries), keys: args.number(keys), dim: args.number(dim), valueDim: args.number(valueDim), rows: args.number(rows) }
  const padded = { keys: args.number(keysPad), dim4: args.number(dim4), dim8: args.number(dim8), value4: args.number(value4), value8: args.number(value8) }
  const bytes = { scores: args.number(scorePitch(keysPad)), dim4: args.number(4 * dim4), dim8: args.number(4 * dim8), value4: args.number(4 * value4), value8: args.number(4 * value8) }
  const areas = new ScratchAreas(args)
  const panels = { kT: areas.area(4 * keysPad * dim4), vT: areas.area(4 * keysPad * value4), k: areas.area(4 * keysPad * dim8), q: areas.area(4 * rows * dim8), dout: areas.area(4 * rows * value8) }
  const rowsOf = { q: areas.area(4 * rows * dim4), dout: areas.area(4 * rows * value4), p: areas.area(rows * scorePitch(keysPad)), ds: areas.area(rows * scorePitch(keysPad)), dq: areas.area(4 * rows * dim8) }
  const sums = { dk: areas.area(4 * keysPad * dim8), dv: areas.area(4 * keysPad * value8) }
  const empty = heads * (queries * (dim + valueDim) + keys * (dim + valueDim)) === 0
  return {
    key: `attentionGrad ${operands.map((h) => (h.contiguous ? 'c' : 's')).join('')} ${nest.key}${causal ? ' causal' : ''}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: empty ? 0 : heads,
    scratchBytes: areas.bytes,
    flops: heads * queries * keys * (6 * dim + 4 * valueDim + 30) * (causal ? 0.5 : 1),
    bytes: 4 * heads * (queries * (2 * dim + 2 * valueDim + 1) + 2 * keys * (dim + valueDim)),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const i = (): Local => f.local('i32')
      const [head, rest, first, last, count, terms, limit, row, valid, left] = [i(), i(), i(), i(), i(), i(), i(), i(), i(), i()]
      const [pAt, dsAt, maskAt, from, into] = [i(), i(), i(), i(), i()]
      const addresses = operands.map(() => i())
      const [qAt, kAt, vAt, oAt, doutAt, dqAt, dkAt, dvAt, maskBase] = addresses
      if (qAt === undefined || kAt === undefined || vAt === undefined || oAt === undefined || doutAt === undefined || dqAt === undefined || dkAt === undefined || dvAt === undefined) throw new Error('attentionGrad: operands')
      const [scale, lseRow, delta] = [f.local('v128'), f.local('v128'), f.local('v128')]
      const rowAt = (base: Local, step: Local): Code => i32.add(get(base), i32.mul(get(row), get(step)))
      const queryAt = (base: Local, matrix: Heads): Code => i32.add(get(base), i32.mul(i32.add(get(first), get(row)), get(matrix.row)))

      const packKeys = [
        zero(f, get(panels.kT), i32.mul(get(padded.keys), get(bytes.dim4))),
        zero(f, get(panels.vT), i32.mul(get(padded.keys), get(bytes.value4))),
        zero(f, get(panels.k), i32.mul(get(padded.keys), get(bytes.dim8))),
        zero(f, get(sums.dk), i32.mul(get(padded.keys), get(bytes.dim8))),
        zero(f, get(sums.dv), i32.mul(get(padded.keys), get(bytes.value8))),
        packTransposed(f, lanes, k.matrix(kAt, get(n.keys), get(n.dim)), get(panels.kT), get(padded.keys), get(padded.dim4)),
        packTransposed(f, lanes, v.matrix(vAt, get(n.keys), get(n.valueDim)), get(panels.vT), get(padded.keys), get(padded.value4)),
        packPanels(f, lanes, k.matrix(kAt, get(n.keys), get(n.dim)), get(panels.k), get(padded.dim8), get(padded.keys)),
      ]
      const queryMatrix = q.matrix(qAt, get(count), get(n.dim), first)
      const doutMatrix = dout.matrix(doutAt, get(count), get(n.valueDim), first)
      const clearQueries = [
        zero(f, get(panels.q), i32.mul(get(bytes.dim8), get(n.rows))), zero(f, get(panels.dout), i32.mul(get(bytes.value8), get(n.rows))),
      ]
      const packQueries = [
        when(i32.ne(get(terms), get(count)), clearQueries),
        copyRows(f, lanes, queryMatrix, (r) => i32.add(get(rowsOf.q), i32.mul(get(r), get(bytes.dim4)))),
        copyRows(f, lanes, doutMatrix, (r) => i32.add(get(rowsOf.dout), i32.mul(get(r), get(bytes.value4)))),
        packPanels(f, lanes, queryMatrix, get(panels.q), get(padded.dim8), get(n.rows)),
        packPanels(f, lanes, doutMatrix, get(panels.dout), get(padded.value8), get(n.rows)),
      ]

      // D of the row: do is in scratch, o is read in place.
      const [d, g] = [lanes.temporary(), lanes.temporary()]
      const [wide, tail] = [f.local('v128'), f.local('v128')]
      const rowDelta = [
        set(from, queryAt(oAt, o)), set(into, rowAt(rowsOf.dout, bytes.value4)), set(left, get(n.valueDim)),
        set(wide, v128.splatF32(0)), set(tail, v128.splatF32(0)),
        o.contiguous ? loopWhile(i32.ge(get(left), i32.const(4)), [
          set(d, v128.load(get(from))), set(g, v128.load(get(into))), set(wide, f32x4.add(get(wide), f32x4.mul(get(d), get(g)))),
          set(from, i32.add(get(from), i32.const(16))), set(into, i32.add(get(into), i32.const(16))), set(left, i32.sub(get(left), i32.const(4))),
        ]) : [],
        loopWhile(get(left), [
          set(tail, f32x4.add(get(tail), f32x4.mul(v128.load32Zero(get(from)), v128.load32Zero(get(into))))),
          set(from, i32.add(get(from), get(o.element))), set(into, i32.add(get(into), i32.const(4))), set(left, i32.sub(get(left), i32.const(1))),
        ]),
        set(delta, f32x4.splat(f32.add(sumLanes(wide), f32x4.extract(get(tail), 0)))),
      ]
      const gradientRow = [
        rowDelta,
        set(lseRow, v128.load32Splat(i32.add(get(lse), i32.shl(i32.add(i32.mul(get(head), get(n.queries)), i32.add(get(first), get(row))), i32.const(2))))),
        set(pAt, rowAt(rowsOf.p, bytes.scores)), set(dsAt, rowAt(rowsOf.ds, bytes.scores)),
        mask === undefined || maskBase === undefined ? [] : set(maskAt, queryAt(maskBase, mask)),
        set(valid, causal ? minimum(get(n.keys), i32.add(i32.add(get(first), get(row)), i32.const(1))) : get(n.keys)),
        set(left, i32.sub(get(limit), get(valid))),
        scoreRow(lanes, { scores: pAt, mask: mask === undefined ? undefined : maskAt, maskHeads: mask, scale, count: valid }, (values, scalar) => {
          const [p, ds] = [lanes.temporaryList(values.length), lanes.temporaryList(values.length)]
          const read = (u: number): Code => (scalar ? v128.load32Zero(get(dsAt)) : v128.load(get(dsAt), 16 * u))
          const write = (address: Local) => (value: Local, u: number): Code => (scalar ? v128.store32Lane(get(address), get(value), 0) : v128.store(get(address), get(value), 16 * u))
          return [
            ds.map((local, u) => set(local, f32x4.mul(f32x4.sub(read(u), get(delta)), get(scale)))),
            p.map((local, u) => { const value = values[u]; return value === undefined ? [] : set(local, lanes.exp(f32x4.sub(get(value), get(lseRow)))) }),
            ds.map((local, u) => { const weight = p[u]; return weight === undefined ? [] : set(local, f32x4.mul(get(local), get(weight))) }),
            p.map(write(pAt)), ds.map(write(dsAt)),
            set(dsAt, i32.add(get(dsAt), i32.const(scalar ? 4 : 16 * values.length))),
          ]
        }),
        loopWhile(get(left), [
          f32.store(get(pAt), f32.const(0)), f32.store(get(dsAt), f32.const(0)),
          set(pAt, i32.add(get(pAt), i32.const(4))), set(dsAt, i32.add(get(dsAt), i32.const(4))), set(left, i32.sub(get(left), i32.const(1))),
        ]),
      ]
      /** Copies rows of scratch to a gradient. */
      const write = (matrix: Heads, base: Local, source: Local, sourceRow: Local, rowCount: Code, elements: Local, firstRow: Code): Code => loopRange(row, i32.const(0), rowCount, 1, [
        set(from, rowAt(source, sourceRow)),
        set(into, i32.add(get(base), i32.mul(i32.add(firstRow, get(row)), get(matrix.row)))),
        set(left, get(elements)),
        matrix.contiguous
          ? copyElements(f, lanes, { element: matrix.element, contiguous: true }, from, into, left)
          : loopWhile(get(left), [f32.store(get(into), f32.load(get(from))), set(from, i32.add(get(from), i32.const(4))), set(into, i32.add(get(into), get(matrix.element))), set(left, i32.sub(get(left), i32.const(1)))]),
      ])
      const scoresOf = (a: Local, aRow: Local, b: Local, depth: Local, c: Local): Code => multiply(f, lanes, { a: get(a), aRow, aTerm: 'contiguous', b: get(b), bDepth: get(depth), c: get(c), cRow: bytes.scores, rows: get(count), columns: get(limit), depth: get(depth), add: false })
      const grow = (a: Local, b: Local, c: Local, cRow: Local, columns: Local): Code => multiply(f, lanes, { a: get(a), aRow: 'contiguous', aTerm: bytes.scores, b: get(b), bDepth: get(n.rows), c: get(c), cRow, rows: get(limit), columns: get(columns), depth: get(terms), add: true })
      const block = [
        set(last, minimum(i32.add(get(first), i32.const(queryBlock)), get(n.queries))),
        set(count, i32.sub(get(last), get(first))),
        set(terms, i32.and(i32.add(get(count), i32.const(3)), i32.const(-4))),
        set(limit, causal ? minimum(i32.and(i32.add(minimum(get(last), get(n.keys)), i32.const(15)), i32.const(-16)), get(padded.keys)) : get(padded.keys)),
        packQueries,
        scoresOf(rowsOf.q, bytes.dim4, panels.kT, padded.dim4, rowsOf.p),
        scoresOf(rowsOf.dout, bytes.value4, panels.vT, padded.value4, rowsOf.ds),
        loopRange(row, i32.const(0), get(count), 1, gradientRow),
        // Rows that pad the block to a multiple of 4 are zeros where they are terms of dk and dv.
        [rowsOf.p, rowsOf.ds].map((matrix) => zero(f, i32.add(get(matrix), i32.mul(get(count), get(bytes.scores))), i32.mul(i32.sub(get(terms), get(count)), get(bytes.scores)))),
        multiply(f, lanes, { a: get(rowsOf.ds), aRow: bytes.scores, aTerm: 'contiguous', b: get(panels.k), bDepth: get(padded.keys), c: get(rowsOf.dq), cRow: bytes.dim8, rows: get(count), columns: get(padded.dim8), depth: get(limit), add: false }),
        grow(rowsOf.p, panels.dout, sums.dv, bytes.value8, padded.value8),
        grow(rowsOf.ds, panels.q, sums.dk, bytes.dim8, padded.dim8),
        write(dq, dqAt, rowsOf.dq, bytes.dim8, get(count), n.dim, get(first)),
      ]
      const code = [
        areas.prologue(),
        set(scale, v128.load32Splat(get(scaleAddress))),
        // Padding stays zero: it meets other zeros and must be finite.
        clearQueries,
        zero(f, get(rowsOf.q), i32.mul(get(bytes.dim4), get(n.rows))), zero(f, get(rowsOf.dout), i32.mul(get(bytes.value4), get(n.rows))),
        loopRange(head, get(begin), get(end), 1, [
          operands.map((h, j) => { const address = addresses[j]; return address === undefined ? [] : set(address, get(h.address)) }),
          set(rest, get(head)), nest.locate(f, rest, addresses),
          packKeys,
          set(first, i32.const(0)),
          loopWhile(i32.lt(get(first), get(n.queries)), [block, set(first, get(last))]),
          write(dk, dkAt, sums.dk, bytes.dim8, get(n.keys), n.dim, i32.const(0)),
          write(dv, dvAt, sums.dv, bytes.value8, get(n.keys), n.valueDim, i32.const(0)),
        ]),
      ]
      f.emit(lanes.prologue, code)
      return f
    },
  }
}
