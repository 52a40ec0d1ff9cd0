/** The server answered with an error. */
export class ApiError extends Error {
  readonly status: number;
  /** Class of the error at the server. */
  readonly type: string;
  /** Which endpoint or part of the request. */
  readonly where?: string;
  readonly found?: string;
  /** What to send or do. */
  readonly instead?: string;
  /** Each wrong place of the arguments. */
  readonly problems: { at: string; problem: string; found?: string }[];
  /** Stands in the server's log, too. */
  readonly requestId?: string;

  constructor(status: number, body: string, requestId?: string | null) {
    let fields: Record<string, any>;
    try {
      fields = JSON.parse(body).error ?? {};
    } catch {
      fields = { message: body.slice(0, 200) };
    }
    super(`${fields.type ?? "HTTPError"} (${status}): ${fields.message ?? ""}`);
    this.status = status;
    this.type = fields.type ?? "HTTPError";
    this.where = fields.where;
    this.found = fields.found;
    this.instead = fields.instead;
    this.problems = fields.problems ?? [];
    this.requestId = fields.request_id ?? requestId ?? undefined;
  }
}

export interface Options {
  /** Sent with every request. */
  apiKey?: string;
  /** Milliseconds that a request may take, its stream included; no limit unless given. */
  timeout?: number;
  /** Name of the request in the server's log. */
  requestId?: string;
  /** Further headers. */
  headers?: Record<string, string>;
  /** Ends requests. */
  signal?: AbortSignal;
  fetch?: typeof fetch;
}

const JSON_TYPE = "application/json";
const BYTES = "application/octet-stream";
const EVENTS = "text/event-stream";

/** Texts as they are, several for an array, JSON for what has parts. */
export function queryOf(values: Record<string, unknown>): string {
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  const query = pairs.flatMap(([name, value]) => (Array.isArray(value) ? value.map((each) => [name, text(each)]) : [[name, text(value)]]));
  return query.length === 0 ? "" : `?${new URLSearchParams(query as [string, string][])}`;
}

class Base {
  protected readonly url: string;
  protected readonly settings: Options;

  constructor(url: string = "http://127.0.0.1:8000", settings: Options = {}) {
    this.url = url.replace(/\/+$/, "");
    this.settings = settings;
  }

  /** Return a client whose requests have other options. */
  options(changes: Options): this {
    return new (this.constructor as new (url: string, settings: Options) => this)(this.url, { ...this.settings, ...changes });
  }

  protected async send(path: string, body: BodyInit | undefined, kind: string, accept: string, verb: string): Promise<Response> {
    const { apiKey, timeout, requestId, headers, signal } = this.settings;
    const signals = [signal, timeout === undefined ? undefined : AbortSignal.timeout(timeout)].filter((s) => s !== undefined);
    const response = await (this.settings.fetch ?? fetch)(this.url + (path || "/"), {
      method: verb,
      body: body ?? null,
      signal: signals.length > 1 ? AbortSignal.any(signals) : (signals[0] ?? null),
      headers: {
        ...(body === undefined ? {} : { "content-type": kind }),
        accept,
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        ...(requestId === undefined ? {} : { "x-request-id": requestId }),
        ...headers,
      },
    });
    if (!response.ok) throw new ApiError(response.status, await response.text(), response.headers.get("x-request-id"));
    return response;
  }

  protected async value<T>(path: string, body: BodyInit | undefined, kind: string, verb = "POST"): Promise<T> {
    return (await (await this.send(path, body, kind, JSON_TYPE, verb)).json()) as T;
  }

  protected async bytes(path: string, body: BodyInit | undefined, kind: string, verb = "POST"): Promise<Uint8Array> {
    return new Uint8Array(await (await this.send(path, body, kind, BYTES, verb)).arrayBuffer());
  }

  protected async *pieces(path: string, body: BodyInit | undefined, kind: string, verb = "POST", accept: string = BYTES): AsyncGenerator<Uint8Array> {
    const reader = (await this.send(path, body, kind, accept, verb)).body!.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } finally {
      await reader.cancel();
    }
  }

  protected async *items<T>(path: string, body: BodyInit | undefined, kind: string, verb = "POST"): AsyncGenerator<T> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of this.pieces(path, body, kind, verb, EVENTS)) {
      const events = (rest + decoder.decode(piece, { stream: true })).split("\n\n");
      rest = events.pop()!;
      for (const event of events) {
        const at = event.lastIndexOf("data: ");
        const data = event.slice(at + 6);
        if (event.startsWith("event: error")) throw new ApiError(500, data);
        if (event.startsWith("event: end")) return;
        yield JSON.parse(data) as T;
      }
    }
    throw new ApiError(502, JSON.stringify({ error: { type: "ReplicaDied", message: "the stream was cut before its end" } }));
  }
}
