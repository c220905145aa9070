import { describe, expect, it } from 'vitest'
import { Shader } from '../../../kernels/wgsl/core/shader.ts'
import type { WgslKernel } from '../../../kernels/wgsl/core/kernel.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('runWgsl', () => {
  const twice = (length: number, last: number): WgslKernel => {
    const shader = new Shader('twice').storage('x', 0, 'read').storage('y', 1, 'read_write')
    const end = shader.parameter('end', last)
    return { dispatches: [shader.dispatch({ body: `if (id < ${end}) { y[id] = 2.0 * x[id]; }`, size: 64, groups: Math.ceil(last / 64) })], flops: length, bytes: 8 * length }
  }

  it('runs a kernel in place', async () => {
    const y = new Float32Array(70_000)
    await runWgsl(twice(y.length, y.length), [Float32Array.from(y, (_, i) => i), y])
    y.forEach((value, i) => expect(value).toBe(2 * i))
  })

  it('numbers more workgroups than one dimension has', async () => {
    const y = new Float32Array(65536 * 64 + 5)
    await runWgsl(twice(y.length, y.length), [Float32Array.from(y, (_, i) => i), y])
    expect(y.every((value, i) => value === 2 * i)).toBe(true)
  })

  it('notices a stray write and a module that does not compile', async () => {
    await expect(runWgsl(twice(3, 4), [new Float32Array(3), new Float32Array(3)])).rejects.toThrow(/buffer 1: wrote \d bytes past its end/)
    await expect(runWgsl({ dispatches: [new Shader('wrong').storage('y', 0, 'read_write').dispatch({ body: 'y[id] = 1u;', size: 4, groups: 1 })], flops: 0, bytes: 0 }, [new Float32Array(3)])).rejects.toThrow(/cannot assign/)
  })
})
