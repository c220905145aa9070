/** Writes one dispatch: the declarations of its module, its uniform block, and how workgroups are numbered. */
import type { Binding, Dispatch } from './kernel.ts'

/** How an element lies in a buffer. */
export type ElementType = 'atomic<u32>' | 'f32' | 'f16' | 'i32' | 'u32' | 'vec2<f32>' | 'vec4<f32>' | 'vec2<f16>' | 'vec4<f16>' | 'vec4<u32>' | 'vec4<i32>'
export type ParameterType = 'u32' | 'i32' | 'f32'

/** The lowest finite f32; an infinite constant cannot be written. */
export const lowest = '-0x1.fffffep+127f'

/** The most workgroups along one dimension. */
const mostWorkgroups = 65535

interface Parameter {
  readonly name: string
  readonly type: ParameterType
  readonly value: number
}

export class Shader {
  private readonly label: string
  private readonly bindings: Binding[] = []
  private readonly declarations: string[] = []
  private readonly parameters: Parameter[] = []

  constructor(label: string) {
    this.label = label
  }

  /** Binds a buffer under `name`: an array of `type`. */
  storage(name: string, buffer: number, access: Binding['access'], type: ElementType = 'f32'): this {
    this.declarations.push(`@group(0) @binding(${this.bindings.length}) var<storage, ${access}> ${name}: array<${type}>;`)
    this.bindings.push({ buffer, access })
    return this
  }

  /** A number that is fixed when the plan is compiled, as the text that reads it. */
  parameter(name: string, value: number, type: ParameterType = 'u32'): string {
    this.parameters.push({ name, type, value })
    return `parameters.${name}`
  }

  /** Numbers as parameters called `name0`, `name1` and so on. */
  parameterList(name: string, values: readonly number[], type: ParameterType = 'u32'): string[] {
    return values.map((value, i) => this.parameter(`${name}${i}`, value, type))
  }

  /**
   * `code`: what stands at module level before `main` (functions, workgroup variables). `body` runs in every invocation and may
   * read `local: u32` (its number in the workgroup), `workgroup: u32` (that of its workgroup, below `groups` or not: the
   * last row of workgroups may go past it) and `id: u32` (its number in all).
   */
  dispatch({ code = '', body, size, groups }: { readonly code?: string; readonly body: string; readonly size: number; readonly groups: number }): Dispatch {
    const workgroups = spread(groups)
    const block = this.parameters.length === 0 ? [] : [
      `struct Parameters { ${this.parameters.map(({ name, type }) => `${name}: ${type}`).join(', ')} }`,
      `@group(0) @binding(${this.bindings.length}) var<uniform> parameters: Parameters;`,
    ]
    const lines = [
      ...this.declarations,
      ...block,
      code,
      `@compute @workgroup_size(${size})`,
      'fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) local: u32) {',
      '  let workgroup = group.x + group.y * grid.x;',
      `  let id = workgroup * ${size}u + local;`,
      body,
      '}',
    ]
    const module = lines.filter((line) => line !== '').join('\n')
    const half = /\bf16\b/.test(module)
    return { label: `${this.label}${half ? ', f16' : ''}`, source: half ? `enable f16;\n${module}` : module, bindings: this.bindings, parameters: this.block(), workgroups }
  }

  /** Uniform blocks are read in units of 16 bytes. */
  private block(): Uint8Array<ArrayBuffer> {
    const view = new DataView(new ArrayBuffer(Math.ceil(this.parameters.length / 4) * 16))
    this.parameters.forEach(({ type, value }, i) => {
      if (type === 'f32') view.setFloat32(4 * i, value, true)
      else if (type === 'i32') view.setInt32(4 * i, value, true)
      else view.setUint32(4 * i, value, true)
    })
    return new Uint8Array(view.buffer)
  }
}

/** So many workgroups in rows of at most 65,535. */
function spread(groups: number): readonly [number, number, number] {
  const rows = Math.max(1, Math.ceil(groups / mostWorkgroups))
  return [Math.ceil(groups / rows), rows, 1]
}
