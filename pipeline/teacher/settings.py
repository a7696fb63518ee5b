"""Settings of a teacher, a judge or a scorer, of its prices and of what may be spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.stage import IDENTITY, OPERATIONAL, Settings

OF_THE_SERVER = {
    *("model", "served_model_name", "host", "api_key", "uds", "enable_lora", "headless"),
    *("root_path", "ssl_keyfile", "ssl_certfile"),
}
"""Options of vLLM's server that are not the user's to set."""
BASE = "base"
"""What the model itself is called, where an adapter is asked."""
FOR_SPEED = {
    *("enforce_eager", "compilation_config", "async_scheduling", "scheduling_policy"),
    *("max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching"),
    *("block_size", "num_gpu_blocks_override", "kv_cache_memory_bytes", "swap_space"),
    *("cpu_offload_gb", "load_format", "safetensors_load_strategy", "max_parallel_loading_workers"),
    *("pipeline_parallel_size", "distributed_executor_backend", "enable_expert_parallel"),
    *("data_parallel_backend", "api_server_count", "disable_custom_all_reduce"),
    *("max_loras", "max_cpu_loras", "max_lora_rank", "disable_log_stats", "uvicorn_log_level"),
    *("enable_log_requests", "max_log_len", "disable_uvicorn_access_log"),
}
"""Options of the engine that change how fast it answers, in how much memory, or what it logs."""


class VLLMSettings(Settings):
    """How a `vllm:` model is served here: settings of vLLM's engine, and of the server it runs in.

    What is null is left to vLLM. `python` is the interpreter that has vLLM, null for this one;
    `port` is a free one where it is null. `lora_modules` are folders of adapters by the name under
    which each is asked, and `adapter` says which, where there are several. `options` are other
    options of `vllm serve`, by their names with underscores; a run keeps to them, but for those
    that are `FOR_SPEED`.
    """

    python: Annotated[str | None, OPERATIONAL] = None
    port: Annotated[int | None, Field(ge=1, le=65535), OPERATIONAL] = None
    start_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 1800.0
    tensor_parallel_size: Annotated[int | None, Field(ge=1), OPERATIONAL] = None
    data_parallel_size: Annotated[int | None, Field(ge=1), OPERATIONAL] = None
    gpu_memory_utilization: Annotated[float | None, Field(gt=0, le=1), OPERATIONAL] = None
    max_model_len: Annotated[int | None, Field(ge=1), IDENTITY] = None
    quantization: Annotated[str | None, IDENTITY] = None
    dtype: Annotated[str | None, IDENTITY] = None
    lora_modules: Annotated[dict[str, str], Field(default_factory=dict), OPERATIONAL]
    adapter: Annotated[str | None, IDENTITY] = None
    options: Annotated[dict[str, Any], Field(default_factory=dict), IDENTITY]

    @field_validator("options")
    @classmethod
    def _leaves_ours_alone(cls, given: dict[str, Any]) -> dict[str, Any]:
        named = {name.lstrip("-").replace("-", "_"): value for name, value in given.items()}
        if taken := sorted(named.keys() & OF_THE_SERVER):
            raise ValueError(f"{', '.join(taken)} are set by synth")
        if own := sorted(named.keys() & cls.model_fields.keys()):
            raise ValueError(f"{', '.join(own)} are settings of their own, beside 'options'")
        return named

    @model_validator(mode="after")
    def _asks_one(self) -> VLLMSettings:
        if BASE in self.lora_modules:
            raise ValueError(f"lora_modules: {BASE!r} is the model itself: name it otherwise")
        if self.adapter is not None and self.adapter not in self.lora_modules:
            raise ValueError(f"adapter: {self.adapter!r} is none of lora_modules")
        if self.adapter is None and len(self.lora_modules) > 1:
            raise ValueError("adapter: say which of lora_modules is asked")
        return self

    @property
    def asked_adapter(self) -> str | None:
        """The name of the adapter that is asked, null where it is the model itself."""
        return self.adapter or next(iter(self.lora_modules), None)


class TeacherSettings(Settings):
    """Whom to ask, and how hard. The served model's name is identity, the server's address is not.

    Durations are seconds. `attempts` is how often one slot is asked while its replies cannot be
    used. `insecure_http` lets a key go to another machine over plain http, where others can read
    it. `structured_output` asks for JSON by a schema where a stage has one; where it is null, a
    `vllm:` model is asked so and no other. A text in place of the settings is the URI.
    """

    uri: Annotated[str | None, OPERATIONAL] = None
    key: Annotated[str | None, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$"), OPERATIONAL] = None
    insecure_http: Annotated[bool, OPERATIONAL] = False
    endpoint: Annotated[Literal["chat", "completions"], IDENTITY] = "chat"
    max_tokens_name: Annotated[Literal["max_tokens", "max_completion_tokens"], IDENTITY] = (
        "max_tokens"
    )
    attempts: Annotated[int, Field(ge=1, le=20), IDENTITY] = 3
    concurrency: Annotated[int, Field(ge=1, le=4096), OPERATIONAL] = 32
    connect_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 10.0
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 300.0
    idle_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 60.0
    outage_limit_s: Annotated[float, Field(ge=0), OPERATIONAL] = 1800.0
    grace_s: Annotated[float, Field(ge=0), OPERATIONAL] = 20.0
    max_reply_mib: Annotated[float, Field(gt=0), OPERATIONAL] = 8.0
    structured_output: Annotated[bool | None, IDENTITY] = None
    vllm: VLLMSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _uri_alone(cls, given: object) -> object:
        return {"uri": given} if isinstance(given, str) else given


class Price(Settings):
    """US dollars for a million tokens."""

    input: Annotated[Decimal, Field(ge=0), OPERATIONAL]
    output: Annotated[Decimal, Field(ge=0), OPERATIONAL]


class Budget(Settings):
    """Caps of one run over all its stages, retries and judges included; null is no cap."""

    usd: Annotated[Decimal | None, Field(gt=0), OPERATIONAL] = None
    tokens: Annotated[int | None, Field(ge=1), OPERATIONAL] = None
    requests: Annotated[int | None, Field(ge=1), OPERATIONAL] = None

    @property
    def is_capped(self) -> bool:
        """Whether any cap is set."""
        return any(cap is not None for cap in (self.usd, self.tokens, self.requests))
