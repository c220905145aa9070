/**
 * What attention and its gradient share: a workgroup owns 32 rows (queries or keys of one head) and meets the others 32 at a
 * time. Its invocations stand in 8 bands of 4 own rows by 8, 16 or 32 columns, by the width of the rows that it sums up.
 *
 * Scores are dot products of rows that pass through workgroup memory some vectors of 4 elements at a time; a variable of them
 * holds one other row's with an invocation's 4 own ones. Weights made of scores go back to workgroup memory, where whole rows of
 * another matrix, times these weights, are added up in registers. Workgroup memory comes to 13.5 KiB whatever the sizes.
 */
import type { AttentionSizes, Strided } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import { functionsOf } from '../core/functions.ts'
import { lowest, type Shader } from '../core/shader.ts'

/** Rows that a workgroup owns, and rows that it meets at a time. */
export const blockRows = 32
const bands = 8
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Vectors from a staged row to the next are odd in number, so that neighbouring rows lie in different banks. */
const mostStaged = 8
const pitch = mostStaged + 1
const stagedVectors = 2 * blockRows * pitch
/** Elements of the widest rows that are summed up: workgroup memory has room for one. */
export const widestHead: number = 4 * stagedVectors

export interface HeadOperand {
  readonly buffer: number
  readonly access?: 'read' | 'read_write'
  readonly strided: Strided
  readonly rows: number
  readonly width: number
  readonly dtype: FloatType
}

/** The mask's operand for `walk`. */
export const maskHead = ({ mask }: AttentionSizes): Record<string, Strided> => (mask === undefined ? {} : { maskHead: { strides: mask.strides.slice(0, -2), offset: mask.offset } })

/** Where the heads of `matrices` begin, for `walk`. */
export const headsOf = (matrices: readonly HeadMatrix[]): Record<string, Strided> => Object.fromEntries(matrices.map(({ base, heads }) => [base, heads]))

/** Operands [...batch, row, element], of which a head's matrices are read and written four elements at a time. */
export class HeadMatrix {
  readonly name: string
  readonly width: number
  /** The parameter of the width. */
  readonly elements: string
  /** The variable that says where the head's matrix begins, and its operand for `walk`. */
  readonly base: string
  readonly heads: Strided
  private readonly strided: Strided
  private readonly dtype: FloatType
  private readonly vectors: boolean
  private readonly row: string
  private readonly element: string
  /** The parameter of the rows. */
  readonly count: string

  constructor(shader: Shader, name: string, { buffer, access = 'read', strided, rows, width, dtype }: HeadOperand) {
    const { strides, offset } = strided
    this.name = name
    this.width = width
    this.base = `${name}Head`
    this.heads = { strides: strides.slice(0, -2), offset }
    this.strided = strided
    this.dtype = dtype
    this.vectors = strides.at(-1) === 1 && [offset, width, ...strides.slice(0, -1)].every((n) => n % 4 === 0)
    shader.storage(name, buffer, access, this.vectors ? `vec4<${dtype}>` : dtype)
    this.row = shader.parameter(`${name}Row`, strides.at(-2) ?? 0, 'i32')
    this.element = shader.parameter(`${name}Element`, strides.at(-1) ?? 0, 'i32')
    this.count = shader.parameter(`${name}Rows`, rows)
    this.elements = shader.parameter(`${name}Width`, width)
  }

  /** A function that gives four elements of a row, zeros where there are none: without a branch, by reading others that do exist. */
  get reader(): string {
    const { name, row, element, count, elements } = this
    const values = this.vectors
      ? `vec4<f32>(${name}[(start + i32(min(element, ${elements} - 4u))) >> 2u])`
      : `vec4(${range(4).map((i) => `f32(${name}[start + i32(min(element + ${i}u, ${elements} - 1u)) * ${element}])`).join(', ')})`
    return `
    fn read_${name}(base: i32, row: u32, element: u32) -> vec4<f32> {
      let start = base + i32(min(row, ${count} - 1u)) * ${row};
      let exist = (element + vec4(0u, 1u, 2u, 3u) < vec4(${elements})) & vec4(row < ${count});
      return select(vec4<f32>(), ${values}, exist);
    }`
  }

  /** A function that stores four elements of a row, where there are such. */
  get writer(): string {
    const { name, row, element, count, elements, dtype } = this
    const inside = this.vectors
      ? `if (element < ${elements}) { ${name}[(base + i32(row) * ${row} + i32(element)) >> 2u] = vec4<${dtype}>(value); }`
      : `for (var i = 0u; i < min(4u, max(element, ${elements}) - element); i++) { ${name}[base + i32(row) * ${row} + i32(element + i) * ${element}] = ${dtype}(value[i]); }`
    return `
    fn write_${name}(base: i32, row: u32, element: u32, value: vec4<f32>) {
      if (row >= ${count}) { return; }
      ${inside}
    }`
  }

  /** Copies `rows` rows from row `first` on, `vectors` vectors each from element `element` on, to workgroup memory, by `place`. */
  stage(invocations: number, { rows, vectors, first, element }: { readonly rows: number; readonly vectors: number; readonly first: string; readonly element: string }, place: (row: string, vector: string) => string): string {
    const byRows = Math.abs(this.strided.strides.at(-2) ?? 0) === 1 && this.width > 1
    const [row, vector] = byRows ? [`i % ${rows}u`, `i / ${rows}u`] : [`i / ${vectors}u`, `i % ${vectors}u`]
    return `
      for (var i = local; i < ${rows * vectors}u; i += ${invocations}u) {
        let row = ${row};
        let vector = ${vector};
        staged[${place('row', 'vector')}] = read_${this.name}(${this.base}, ${first} + row, ${element} + vector * 4u);
      }`
  }
}

export class AttentionTile {
  readonly columns: number
  readonly invocations: number
  /** Other rows that an invocation has scores of. */
  readonly scores: readonly number[]

  /** `widest`: elements of the widest rows that are summed up. */
  constructor(widest: number) {
    if (widest > widestHead) throw new Error(`attention: heads of ${widest} elements, but workgroup memory has room for rows of ${widestHead}; split them into more heads`)
    this.columns = widest <= 64 ? 8 : widest <= 128 ? 16 : 32
    this.invocations = bands * this.columns
    this.scores = range(blockRows / this.columns)
  }

  get memory(): string {
    return `
    var<workgroup> staged: array<vec4<f32>, ${stagedVectors}>;
    var<workgroup> weights: array<vec4<f32>, ${blockRows * pitch}>;`
  }

  /** Declares an invocation's `band` and `column`. */
  get locate(): string {
    return `let band = local / ${this.columns}u; let column = local % ${this.columns}u;`
  }

  /** The number of other row `j` of an invocation, in its block. */
  other(j: number): string {
    return `column + ${j * this.columns}u`
  }

  /** Declares `name0`, `name1`, …: dot products of the own rows from `ownFirst` on with the other rows from `otherFirst` on. */
  products(name: string, own: HeadMatrix, other: HeadMatrix): string {
    if (own.width === 0) return `${this.scores.map((j) => `var ${name}${j} = vec4<f32>();`).join(' ')} workgroupBarrier();`
    const all = Math.ceil(own.width / 4)
    const vectors = Math.ceil(all / Math.ceil(all / mostStaged))
    const step = vectors | 1
    const otherStart = blockRows * pitch
    const shape = { rows: blockRows, vectors, element: 'element' }
    return `
      ${this.scores.map((j) => `var ${name}${j} = vec4<f32>();`).join(' ')}
      for (var element = 0u; element < ${own.elements}; element += ${4 * vectors}u) {
        workgroupBarrier();
        // Row r is an invocation's row r % 4 of band r / 4.
        ${own.stage(this.invocations, { ...shape, first: 'ownFirst' }, (row, e) => `(${row} % 4u * ${bands}u + ${row} / 4u) * ${step}u + ${e}`)}
        ${other.stage(this.invocations, { ...shape, first: 'otherFirst' }, (row, e) => `${otherStart}u + ${row} * ${step}u + ${e}`)}
        workgroupBarrier();
        for (var e = 0u; e < ${vectors}u; e++) {
          ${range(4).map((i) => `let own${i} = staged[(band + ${i * bands}u) * ${step}u + e];`).join('\n          ')}
          ${this.scores.map((j) => `let other${j} = staged[${otherStart}u + (${this.other(j)}) * ${step}u + e];`).join('\n          ')}
          ${this.scores.map((j) => `${name}${j} += vec4(${range(4).map((i) => `dot(own${i}, other${j})`).join(', ')});`).join('\n          ')}
        }
      }`
  }

  /** Vectors of a row of `matrix` that an invocation sums up. */
  private sums(matrix: HeadMatrix): readonly number[] {
    return range(Math.ceil(matrix.width / 4 / this.columns))
  }

  private sum(name: string, i: number, u: number): string {
    return `${name}_${i}_${u}`
  }

  private eachSum(matrix: HeadMatrix, text: (i: number, u: number) => string): string {
    return range(4).map((i) => this.sums(matrix).map((u) => text(i, u)).join(' ')).join('\n      ')
  }

  declareSums(name: string, matrix: HeadMatrix): string {
    return this.eachSum(matrix, (i, u) => `var ${this.sum(name, i, u)} = vec4<f32>();`)
  }

  /** Multiplies the sums of own row i by component i of `factor`. */
  scaleSums(name: string, matrix: HeadMatrix, factor: string): string {
    return this.eachSum(matrix, (i, u) => `${this.sum(name, i, u)} *= ${factor}[${i}];`)
  }

  /** Where the weights of an invocation's own rows with other row `other` lie. */
  private weight(other: string): string {
    return `weights[(${other}) * ${pitch}u + band]`
  }

  /** Declares `name`, the maximum or sum of `value` over a band's columns, by way of the memory of weights. */
  foldColumns(name: string, value: string, op: 'max' | 'add'): string {
    const next = this.weight('c')
    return `
      ${this.weight('column')} = ${value};
      workgroupBarrier();
      var ${name} = ${this.weight('0u')};
      for (var c = 1u; c < ${this.columns}u; c++) { ${op === 'max' ? `${name} = max(${name}, ${next});` : `${name} += ${next};`} }
      workgroupBarrier();`
  }

  /** Keeps weights for `addProducts`. Others may read those before until a barrier. */
  keepWeights(name: string): string {
    return this.scores.map((j) => `${this.weight(this.other(j))} = ${name}${j};`).join(' ')
  }

  /** Adds the other rows of `matrix`, times the weights kept, to sums. Begins with a barrier. */
  addProducts(name: string, matrix: HeadMatrix): string {
    if (matrix.width === 0) return 'workgroupBarrier();'
    const width = this.columns * this.sums(matrix).length
    const rows = Math.min(blockRows, 2 ** Math.floor(Math.log2(stagedVectors / width)))
    const row = (r: number): string => `
          {
            let weight = ${this.weight(`first + r + ${r}u`)};
            ${this.sums(matrix).map((u) => `let value${u} = staged[(r + ${r}u) * ${width}u + column + ${u * this.columns}u];`).join(' ')}
            ${this.eachSum(matrix, (i, u) => `${this.sum(name, i, u)} += weight[${i}] * value${u};`)}
          }`
    const unrolled = Math.min(2, rows)
    return `
      for (var first = 0u; first < ${blockRows}u; first += ${rows}u) {
        workgroupBarrier();
        ${matrix.stage(this.invocations, { rows, vectors: width, first: 'otherFirst + first', element: '0u' }, (r, vector) => `${r} * ${width}u + ${vector}`)}
        workgroupBarrier();
        for (var r = 0u; r < ${rows}u; r += ${unrolled}u) {${range(unrolled).map(row).join('')}
        }
      }`
  }

  /** Stores sums, row i times component i of `factor`, as rows of `out` from `ownFirst` on. */
  writeSums(name: string, matrix: HeadMatrix, out: HeadMatrix, factor: string): string {
    return this.eachSum(matrix, (i, u) => `write_${out.name}(${out.base}, ownFirst + band * 4u + ${i}u, (column + ${u * this.columns}u) * 4u, ${this.sum(name, i, u)} * ${factor}[${i}]);`)
  }
}

/** The least score that counts; the lowest number stands for what is masked. */
const leastScore = '-3.4e38'

/** Parameters and code that turn products into scores. */
export class Scores {
  /** Functions of the module. */
  readonly code: string
  private readonly mask: boolean

  /** The mask lies in the buffer `mask`, and its head begins at the variable `maskHead`. */
  constructor(shader: Shader, { causal, mask, queries, keys }: AttentionSizes) {
    this.mask = mask !== undefined
    const [queryCount, keyCount] = [shader.parameter('queries', queries), shader.parameter('keys', keys)]
    const steps = mask === undefined ? [] : [shader.parameter('maskQuery', mask.strides.at(-2) ?? 0, 'i32'), shader.parameter('maskKey', mask.strides.at(-1) ?? 0, 'i32')]
    const added = (i: number): string => `f32(mask[base + i32(min(query[${i}], ${queryCount} - 1u)) * ${steps[0]} + i32(min(key[${i}], ${keyCount} - 1u)) * ${steps[1]}])`
    const addMask = `
      let added = vec4(${range(4).map(added).join(', ')});
      seen = seen & (bitcast<vec4<u32>>(added) != vec4(0xff800000u));
      score += added;`
    this.code = `
    ${functionsOf('expOrNan4() logOrNan4()')}
    fn scoresOf(products: vec4<f32>, query: vec4<u32>, key: vec4<u32>${this.mask ? ', base: i32' : ''}) -> vec4<f32> {
      var seen = (query < vec4(${queryCount})) & (key < vec4(${keyCount}))${causal ? ' & (key <= query)' : ''};
      var score = products;${this.mask ? addMask : ''}
      score = select(score, vec4(${leastScore}), score < vec4(${leastScore}));
      return select(vec4(${lowest}), score, seen);
    }`
  }

  /** Turns products `name0`, … of own and other rows into scores; the own rows are queries or keys. */
  apply(tile: AttentionTile, name: string, own: 'queries' | 'keys'): string {
    const score = (j: number): string => {
      const [mine, theirs] = ['ownFirst + band * 4u + vec4(0u, 1u, 2u, 3u)', `vec4(otherFirst + ${tile.other(j)})`]
      return `scoresOf(${name}${j} * scale, ${own === 'queries' ? `${mine}, ${theirs}` : `${theirs}, ${mine}`}${this.mask ? ', maskHead' : ''})`
    }
    return tile.scores.map((j) => `${name}${j} = ${score(j)};`).join('\n      ')
  }
}

/** Weights of the scores `name0`, …, exp(score − shift), 0 for what is masked. */
export const weigh = (tile: AttentionTile, name: string, shift: (j: number) => string): string =>
  tile.scores.map((j) => `${name}${j} = select(expOrNan4(${name}${j} - ${shift(j)}), vec4<f32>(), ${name}${j} == vec4(${lowest}));`).join('\n      ')
