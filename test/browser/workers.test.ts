/** A page whose worker file is not to be had: the error names the file and why, as far as the page can find out. */
import { spawnCpuWorker } from '#platform'
import { afterEach, describe, expect, inject, test, vi } from 'vitest'
import { DeviceError, device, ones, sum } from '../../engine/index.ts'

afterEach(() => vi.unstubAllGlobals())

/** Makes the next workers load another file. */
function serveInstead(file: string): void {
  vi.stubGlobal('Worker', class extends Worker {
    constructor(url: URL, options: WorkerOptions) {
      url.href = new URL(file, url).href
      super(url, options)
    }
  })
}

const failure = (): Promise<Error> => new Promise((fail) => spawnCpuWorker(() => undefined, fail))
const said = (file: string, why: string): string =>
  `cpu: the file of the worker threads, ${file}, could not be loaded: ${why}; serve langevin’s cpu-worker.js there, or open the device with sharedMemory: false, which needs no workers`

const missing = `${globalThis.location.origin}/@fs/nowhere/cpu-worker.js`
const { status } = await fetch(missing)
const html = 'data:text/html,<p>not found'
const script = 'data:text/javascript,postMessage(1)'
const policy = 'the page’s Content-Security-Policy may forbid it (worker-src), or it comes without the page’s Cross-Origin-Embedder-Policy'

describe('what is said of the file of a worker', () => {
  test.each([
    ['that another is served for', html, 'its content type is text/html, not text/javascript'],
    ['of no type', 'data:;charset=utf-8,1', 'its content type is text/plain;charset=utf-8, not text/javascript'],
    ['that is not there', missing, `the server answers ${status}`],
  ])('%s', async (_, file, why) => {
    serveInstead(file)
    const error = await failure()
    expect(error).toBeInstanceOf(DeviceError)
    expect(error.message).toBe(said(file, why))
  })

  test('that fails once it is loaded: its own error', async () => {
    serveInstead('data:text/javascript,throw new TypeError("no, thanks")')
    const error = await failure()
    expect(error).not.toBeInstanceOf(DeviceError)
    expect(error.message).toMatch(/no, thanks/)
  })

  test.runIf(inject('isolated'))('by a device: each run says it, and closing is as ever', async () => {
    serveInstead(html)
    const cpu = await device('cpu', { threads: 2, makeDefault: false })
    for (let i = 0; i < 2; i++) await expect(sum(ones([300, 300], { device: cpu })).item()).rejects.toThrow(said(html, 'its content type is text/html, not text/javascript'))
    await cpu.close()
  })

  test('that the page’s policy forbids, whether or not it may be fetched', async () => {
    serveInstead(script)
    // Last, as the document is under the policy from here on.
    const forbid = (content: string): void => document.head.append(Object.assign(document.createElement('meta'), { httpEquiv: 'Content-Security-Policy', content }))
    forbid("worker-src 'none'")
    expect((await failure()).message).toBe(said(script, policy))
    forbid('connect-src ws:')
    expect((await failure()).message).toBe(said(script, 'TypeError: Failed to fetch'))
  })
})
