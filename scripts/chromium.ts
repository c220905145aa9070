/** Chromium as tests and benchmarks start it. */
import { existsSync } from 'node:fs'

/** Undefined where there is none; see CONTRIBUTING.md. */
export const executablePath: string | undefined = [process.env['CHROMIUM'] ?? '', '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync)

export const args: readonly string[] = [
  '--headless=new',
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--enable-unsafe-webgpu',
  '--enable-dawn-features=disable_workgroup_init',
]

/** With which a page is cross-origin isolated, so that its workers can share memory. */
export const isolation: Readonly<Record<string, string>> = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }
