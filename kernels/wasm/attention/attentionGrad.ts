/**
 * Gradient of attention. With scores s = scale·q·kᵀ + mask, the probabilities are computed again as
 * p = exp(s − lse); then dv = pᵀ·do, dp = do·vᵀ, ds = p∘(dp − D) with D = rowsum(do∘o), and
 * dq = scale·ds·k, dk = scale·dsᵀ·q.
 *
 * An item is a head: block by block of keys, and for each block by block of queries, the probabilities and ds are made
 * in scratch memory (five products a block), dk and dv of the keys at hand grow there, and so does dq of the head.
 * Where there are few heads, an item is a part of one: dk and dv of some keys over all queries, then dq of some queries
 * over all keys. This computes scores and dp twice (seven products), but nothing is ever added up across items.
 */
import { type Code, f32, f32x4, get, i32, type Local, loopRange, loopWhile, minimum, select, set, v128, when } from '../core/assembler.ts'
import type { AttentionGradDescriptor, Strided } from '../../ir/descriptor.ts'
import { Arguments, begin, end, Nest } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, sumLanes, Uniform } from '../core/lanes.ts'
import { copyElements, copyRows, packPanels, packTransposed, zero } from './scratchPanels.ts'
import { multiply, panelWidth, type ScratchProduct, rowsBeyond } from './scratchProduct.ts'
import { blockOf, blocksOf, Heads, maskScores, pad, rowPitch } from './scores.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Heads from which on each is one item. */
const enoughHeads = 4
const mostParts = 8
const positionsPerPart = 128

/** Into how many items a head is cut: one where there are many heads, or few positions. */
function partsOf(heads: number, positions: number): number {
  return heads >= enoughHeads ? 1 : Math.max(1, Math.min(mostParts, Math.ceil(positions / positionsPerPart)))
}

/** Inputs q, k, v, (mask), scale (one f32), o, lse [...batch, queries], do; outputs dq, dk, dv. */
export function attentionGradKernel(options: AttentionGradDescriptor, target: WasmTarget): WasmKernel {
  const { queries, keys, dim, valueDim, causal } = options
  const heads = options.batch.reduce((a, b) => a * b, 1)
  const parts = partsOf(heads, Math.max(queries, keys))
  const blocks = blocksOf(options)
  // Of keys and queries in a part.
  const part = { keys: Math.ceil(keys / parts), queries: parts === 1 ? queries : blockOf(queries, Math.ceil(queries / parts), panelWidth) }
  const masks = options.mask === undefined ? 0 : 1
  const args = new Arguments()
  const operand = (buffer: number, strided: Strided): Heads => new Heads(args, buffer, strided)
  const [q, k, v, o] = [operand(0, options.q), operand(1, options.k), operand(2, options.v), operand(4 + masks, options.out)]
  const [dout, dq, dk, dv] = [operand(6 + masks, options.dout), operand(7 + masks, options.dq), operand(8 + masks, options.dk), operand(9 + masks, options.dv)]
  const mask = options.mask === undefined ? undefined : operand(3, options.mask)
  const [scaleAddress, lse] = [args.buffer(3 + masks), args.buffer(5 + masks)]
  const operands = [q, k, v, o, dout, dq, dk, dv, ...(mask === undefined ? [] : [mask])]
  const nest = new Nest(args, options.batch, operands.map((h) => h.batchStrides))

  // Terms of a row are padded to 4, columns to 8.
  const [depth, valueDepth, columnsOf] = [pad(Math.max(dim, 1), 4), pad(Math.max(valueDim, 1), 4), (n: number) => pad(n, 8)]
  const n = {
    queries: args.number(queries), keys: args.number(keys), dim: args.number(dim), depth: args.number(depth), columns: args.number(columnsOf(dim)),
    valueDim: args.number(valueDim), valueDepth: args.number(valueDepth), valueColumns: args.number(columnsOf(valueDim)),
    blockQueries: args.number(blocks.queries), blockKeys: args.number(blocks.keys), partQueries: args.number(part.queries), partKeys: args.number(part.keys), parts: args.number(parts),
  }
  const pitch = { k: args.number(rowPitch(depth)), v: args.number(rowPitch(valueDepth)), scores: args.number(blocks.pitch), dim: args.number(rowPitch(columnsOf(dim))), value: args.number(rowPitch(columnsOf(valueDim))) }
  const areas = new ScratchAreas(args)
  const rowsOf = (rows: number, floats: number): Local => areas.area((rows + rowsBeyond) * rowPitch(floats))
  const [kRows, vRows] = [rowsOf(blocks.keys, depth), rowsOf(blocks.keys, valueDepth)]
  const kPanels = areas.area(4 * pad(dim, panelWidth) * blocks.keys)
  const [qT, doT] = [areas.area(4 * blocks.queries * depth), areas.area(4 * blocks.queries * valueDepth)]
  const [qPanels, doPanels] = [areas.area(4 * pad(dim, panelWidth) * blocks.queries), areas.area(4 * pad(valueDim, panelWidth) * blocks.queries)]
  // Padding inside the operands stays zero: it meets other zeros and must be finite.
  const cleared = args.number(areas.bytes)
  const [p, ds] = [areas.area(blocks.bytes), areas.area(blocks.bytes)]
  const [dkRows, dvRows, dqRows] = [rowsOf(blocks.keys, columnsOf(dim)), rowsOf(blocks.keys, columnsOf(valueDim)), rowsOf(part.queries, columnsOf(dim))]
  const [lses, deltas] = [areas.area(4 * blocks.queries), areas.area(4 * blocks.queries)]
  const products = parts === 1 ? { dim: 3, value: 2 } : { dim: 4, value: 3 }
  return {
    key: `attentionGrad ${operands.map((h) => (h.contiguous ? 'c' : 's')).join('')} ${nest.key}${causal ? ' causal' : ''}${target.relaxed ? ' relaxed' : ''}${target.wide === true ? ' wide' : ''}`,
    args: args.list,
    items: heads * (queries + keys) * (dim + valueDim) === 0 ? 0 : heads * parts,
    scratchBytes: areas.bytes,
    flops: heads * queries * keys * (2 * products.dim * dim + 2 * products.value * valueDim + 30) * (causal ? 0.5 : 1),
    bytes: 4 * heads * (queries * (2 * dim + 2 * valueDim + 1) + 2 * keys * (dim + valueDim)),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const wide = target.wide === true
      const i = (): Local => f.local('i32')
      const [item, head, rest, pass, keyStart, keyStop, queryStart, queryStop] = [i(), i(), i(), i(), i(), i(), i(), i()]
      const [key, keyCount, blockCount, query, count, columns] = [i(), i(), i(), i(), i(), i()]
      const [row, column, from, to, left] = [i(), i(), i(), i(), i()]
      const addresses = operands.map(() => i())
      const [qAt, kAt, vAt, oAt, doutAt, dqAt, dkAt, dvAt, maskAt] = addresses
      if (qAt === undefined || kAt === undefined || vAt === undefined || oAt === undefined || doutAt === undefined || dqAt === undefined || dkAt === undefined || dvAt === undefined) throw new Error('attentionGrad: operands')
      const scale = new Uniform(f)
      const rowAt = (base: Local, step: Local, index: Code): Code => i32.add(get(base), i32.mul(index, get(step)))
      const floatAt = (base: Local, index: Code): Code => i32.add(get(base), i32.shl(index, i32.const(2)))
      // The first pass makes dk and dv, the second dq; of a whole head one pass makes all.
      const whole = i32.eq(get(n.parts), i32.const(1))
      const [makesKeys, makesQueries] = [i32.or(i32.eqz(get(pass)), whole), i32.or(get(pass), whole)]

      const packKeys = [
        copyRows(f, lanes, k.matrix(kAt, get(key), get(blockCount), get(n.dim)), (r) => rowAt(kRows, pitch.k, get(r))),
        copyRows(f, lanes, v.matrix(vAt, get(key), get(blockCount), get(n.valueDim)), (r) => rowAt(vRows, pitch.v, get(r))),
        when(makesQueries, packPanels(f, lanes, k.matrix(kAt, get(key), get(blockCount), get(n.dim)), get(kPanels), get(n.blockKeys))),
        when(makesKeys, [zero(f, get(dkRows), i32.mul(get(blockCount), get(pitch.dim))), zero(f, get(dvRows), i32.mul(get(blockCount), get(pitch.value)))]),
      ]
      const queryMatrix = q.matrix(qAt, get(query), get(count), get(n.dim), scale)
      const doutMatrix = dout.matrix(doutAt, get(query), get(count), get(n.valueDim))
      // D of a query, whose do and o are read in place.
      const [x, y] = [lanes.temporary(), lanes.temporary()]
      const [vectors, singles] = [f.local('v128'), f.local('v128')]
      const bothContiguous = o.contiguous && dout.contiguous
      const dot = (load: (address: Code) => Code, sum: Local, bytes: number): Code => [
        set(x, load(get(from))), set(y, load(get(to))), set(sum, f32x4.add(get(sum), f32x4.mul(get(x), get(y)))),
        set(from, i32.add(get(from), bytes === 4 ? get(o.element) : i32.const(bytes))), set(to, i32.add(get(to), bytes === 4 ? get(dout.element) : i32.const(bytes))),
        set(left, i32.sub(get(left), i32.const(bytes / 4))),
      ]
      const delta = [
        set(from, o.rowAt(oAt, i32.add(get(query), get(row)))), set(to, dout.rowAt(doutAt, i32.add(get(query), get(row)))), set(left, get(n.valueDim)),
        set(vectors, v128.splatF32(0)), set(singles, v128.splatF32(0)),
        bothContiguous ? loopWhile(i32.ge(get(left), i32.const(4)), dot(v128.load, vectors, 16)) : [],
        loopWhile(get(left), dot(v128.load32Zero, singles, 4)),
        f32.store(floatAt(deltas, get(row)), f32.add(sumLanes(vectors), f32x4.extract(get(singles), 0))),
      ]
      const packQueries = [
        packTransposed(f, lanes, queryMatrix, get(qT), get(n.depth)),
        packTransposed(f, lanes, doutMatrix, get(doT), get(n.valueDepth)),
        when(makesKeys, [packPanels(f, lanes, queryMatrix, get(qPanels), get(n.blockQueries)), packPanels(f, lanes, doutMatrix, get(doPanels), get(n.blockQueries))]),
        // What pads a block to 8 queries has probability 0.
        loopRange(row, get(count), get(columns), 1, [f32.store(floatAt(lses, get(row)), f32.const(Infinity)), f32.store(floatAt(deltas, get(row)), f32.const(0))]),
        set(from, floatAt(lse, i32.add(i32.mul(get(head), get(n.queries)), get(query)))), set(to, get(lses)), set(left, get(count)),
        copyElements(lanes, { from, to, count: left }),
        loopRange(row, i32.const(0), get(count), 1, delta),
      ]
      /** Scores become probabilities, and dp becomes ds, of `4·vectors` queries. */
      const differentiate = (vectors: number): Code => {
        const [pAt, dsAt, lseAt, deltaAt] = [i(), i(), i(), i()]
        const lane = Array.from({ length: vectors }, (_, u) => ({ offset: 16 * u, weight: lanes.temporary(), slope: lanes.temporary() }))
        return [
          set(pAt, floatAt(p, get(column))), set(dsAt, floatAt(ds, get(column))), set(lseAt, floatAt(lses, get(column))), set(deltaAt, floatAt(deltas, get(column))),
          set(left, get(keyCount)),
          loopWhile(get(left), [
            lane.map(({ weight, offset }) => set(weight, f32x4.sub(v128.load(get(pAt), offset), v128.load(get(lseAt), offset)))),
            lane.map(({ slope, offset }) => set(slope, f32x4.sub(v128.load(get(dsAt), offset), v128.load(get(deltaAt), offset)))),
            lane.map(({ weight }) => set(weight, lanes.exp(get(weight)))),
            lane.map(({ slope, weight }) => set(slope, f32x4.mul(get(slope), get(weight)))),
            lane.map(({ weight, offset }) => v128.store(get(pAt), get(weight), offset)),
            lane.map(({ slope, offset }) => v128.store(get(dsAt), get(slope), offset)),
            set(pAt, i32.add(get(pAt), get(pitch.scores))), set(dsAt, i32.add(get(dsAt), get(pitch.scores))), set(left, i32.sub(get(left), i32.const(1))),
            lanes.clear,
          ]),
        ]
      }
      const scoresOf = (a: Local, aStep: Local, b: Local, terms: Local, c: Local): ScratchProduct => ({ a: get(a), aStep: get(aStep), b: get(b), bDepth: get(terms), c: get(c), cRow: get(pitch.scores), rows: get(keyCount), columns: get(columns), depth: get(terms) })
      const grown = (a: Local, b: Local, c: Local, cRow: Local, width: Local): ScratchProduct => ({ a: get(a), aStep: get(pitch.scores), b: get(b), bDepth: get(n.blockQueries), c: get(c), cRow: get(cRow), rows: get(keyCount), columns: get(width), depth: get(columns) })
      const queryBlock = [
        set(count, minimum(get(n.blockQueries), i32.sub(get(queryStop), get(query)))),
        set(columns, i32.and(i32.add(get(count), i32.const(7)), i32.const(-8))),
        set(keyCount, causal ? minimum(get(blockCount), i32.sub(i32.add(get(query), get(count)), get(key))) : get(blockCount)),
        when(i32.ne(get(columns), get(count)), zero(f, get(qT), i32.sub(get(p), get(qT)))), // all four of the queries' areas
        packQueries,
        multiply(f, lanes, { adjacent: 'terms', add: false, wide }, scoresOf(kRows, pitch.k, qT, n.depth, p), scoresOf(vRows, pitch.v, doT, n.valueDepth, ds)),
        maskScores(f, { scores: get(p), pitch: pitch.scores, query, queries: count, key, keys: keyCount }, causal, mask === undefined || maskAt === undefined ? undefined : { heads: mask, address: maskAt }),
        loopRange(column, i32.const(0), get(columns), wide ? 16 : 8, wide ? when(i32.gt(i32.sub(get(columns), get(column)), i32.const(8)), differentiate(4), differentiate(2)) : differentiate(2)),
        // Where not all keys of the block are seen, a tile's rows beyond the last must add nothing to theirs.
        causal ? [p, ds].map((area) => zero(f, rowAt(area, pitch.scores, get(keyCount)), i32.mul(get(pitch.scores), i32.const(rowsBeyond)))) : [],
        when(makesKeys, multiply(f, lanes, { adjacent: 'terms', add: true, wide }, grown(p, doPanels, dvRows, pitch.value, n.valueColumns), grown(ds, qPanels, dkRows, pitch.dim, n.columns))),
        when(makesQueries, multiply(f, lanes, { adjacent: 'rows', add: true, wide }, {
          a: get(ds), aStep: get(pitch.scores), b: get(kPanels), bDepth: get(n.blockKeys),
          c: rowAt(dqRows, pitch.dim, i32.sub(get(query), get(queryStart))), cRow: get(pitch.dim), rows: get(count), columns: get(n.columns), depth: get(keyCount),
        })),
      ]
      /** Copies rows of scratch memory to a gradient. */
      const write = (matrix: Heads, base: Local, source: Local, step: Local, first: Code, rows: Code, elements: Local, factor?: Uniform): Code => loopRange(row, i32.const(0), rows, 1, [
        set(from, rowAt(source, step, get(row))), set(to, matrix.rowAt(base, i32.add(first, get(row)))), set(left, get(elements)),
        copyElements(lanes, { from, to, count: left, toStep: matrix.contiguous ? undefined : matrix.element, factor }),
      ])
      const keyBlock = [
        set(blockCount, minimum(get(n.blockKeys), i32.sub(get(keyStop), get(key)))),
        packKeys,
        // A causal query before the first key has no part in this block. Blocks keep their places.
        set(query, causal ? i32.mul(i32.divu(select(i32.sub(get(key), get(queryStart)), i32.const(0), i32.gt(get(key), get(queryStart))), get(n.blockQueries)), get(n.blockQueries)) : i32.const(0)),
        set(query, i32.add(get(query), get(queryStart))),
        loopWhile(causal ? i32.and(i32.lt(get(query), get(queryStop)), i32.lt(get(key), get(queryStop))) : i32.lt(get(query), get(queryStop)), [queryBlock, set(query, i32.add(get(query), get(n.blockQueries)))]),
        when(makesKeys, [
          write(dk, dkAt, dkRows, pitch.dim, get(key), get(blockCount), n.dim),
          write(dv, dvAt, dvRows, pitch.value, get(key), get(blockCount), n.valueDim),
        ]),
      ]
      const share = (start: Local, stop: Local, whole: Code, all: Local, size: Local): Code => {
        const first = i32.mul(i32.remu(get(item), get(n.parts)), get(size))
        return [
          set(start, select(i32.const(0), minimum(first, get(all)), whole)),
          set(stop, select(get(all), minimum(i32.add(get(start), get(size)), get(all)), whole)),
        ]
      }
      const code = [
        areas.prologue(),
        scale.set(f32.load(get(scaleAddress))),
        zero(f, get(kRows), get(cleared)),
        loopRange(item, get(begin), get(end), 1, [
          set(head, i32.divu(get(item), get(n.parts))),
          operands.map((h, j) => { const address = addresses[j]; return address === undefined ? [] : set(address, get(h.address)) }),
          set(rest, get(head)), nest.locate(f, rest, addresses),
          loopRange(pass, i32.const(0), minimum(get(n.parts), i32.const(2)), 1, [
            share(keyStart, keyStop, get(pass), n.keys, n.partKeys),
            share(queryStart, queryStop, i32.eqz(get(pass)), n.queries, n.partQueries),
            when(makesQueries, zero(f, get(dqRows), i32.mul(i32.sub(get(queryStop), get(queryStart)), get(pitch.dim)))),
            set(key, get(keyStart)),
            loopWhile(i32.lt(get(key), causal ? minimum(get(keyStop), select(get(keyStop), get(queryStop), makesKeys)) : get(keyStop)), [keyBlock, set(key, i32.add(get(key), get(blockCount)))]),
            when(makesQueries, write(dq, dqAt, dqRows, pitch.dim, get(queryStart), i32.sub(get(queryStop), get(queryStart)), n.dim, scale)),
          ]),
        ]),
      ]
      f.emit(lanes.prologue, code)
      return f
    },
  }
}
