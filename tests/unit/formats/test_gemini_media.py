"""Files for Gemini: their resolution, what the results of functions hold, and what the service would refuse."""

from __future__ import annotations

import base64

import pytest

from tests.unit.formats.gemini_lines import (
    ARGON,
    FLASH,
    FLASH_2,
    FLASH_3,
    FLASH_3_8,
    HELLO,
    PDF,
    PNG,
    PRO_3,
    Json,
    call,
    calling,
    contents,
    image,
    noting,
    refusal,
    result,
    signed,
    text,
    translate,
    user,
)

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HIGH, LOW = "MEDIA_RESOLUTION_HIGH", "MEDIA_RESOLUTION_LOW"
PAINTED = {"type": "image_url", "image_url": {"url": PNG}}


def uri(media: str, data: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def file(given: str, **members: object) -> Json:
    return {"type": "file", "file": {"file_data": given, **members}}


@pytest.mark.parametrize("model", [FLASH_3, PRO_3, FLASH_3_8, ARGON, "gemini-9-flash"])
def test_each_image_has_its_own_resolution_since_gemini_3(model: str) -> None:
    given = user(image(PNG, detail="high"), image(PNG, detail="low"), image(PNG, detail="auto"), image(PNG))
    parts = contents(*given, model=model)[0]["parts"]
    assert [part.get("mediaResolution") for part in parts] == [{"level": HIGH}, {"level": LOW}, None, None]


@pytest.mark.parametrize(("detail", "level"), [("high", HIGH), ("low", LOW)])
@pytest.mark.parametrize("model", [FLASH_2, FLASH])
def test_an_older_gemini_has_one_resolution_for_all(model: str, detail: str, level: str) -> None:
    given = user(image(PNG, detail=detail), text("a"), image(PNG, detail=detail))
    assert translate(model, given, max_tokens=7)["generationConfig"] == {"mediaResolution": level, "maxOutputTokens": 7}
    assert translate(model, given)["generationConfig"] == {"mediaResolution": level}


@pytest.mark.parametrize("other", [image(PNG), image(PNG, detail="low"), image(PNG, detail="auto"), file(PDF)])
def test_what_an_older_gemini_cannot_tell_apart_is_noted(other: Json) -> None:
    request, dropped = noting(FLASH, user(image(PNG, detail="high"), other))
    assert "generationConfig" not in request
    assert dropped == ("messages[].content[].image_url.detail",)


@pytest.mark.parametrize("model", [FLASH, FLASH_3])
def test_a_detail_that_gemini_does_not_have_is_noted(model: str) -> None:
    assert noting(model, user(image(PNG, detail="original")))[1] == ("messages[].content[].image_url.detail",)


TAKEN = [
    (image(PNG), "image/png"),
    (image("data:image/jpg;base64,/9j/"), "image/jpeg"),
    (file(PDF, filename="a.pdf"), "application/pdf"),
    (file("data:text/plain;base64,YQ=="), "text/plain"),
]


@pytest.mark.parametrize(("part", "media"), TAKEN)
@pytest.mark.parametrize("model", [FLASH_3, ARGON, "gemini-9-flash"])
def test_files_in_the_result_of_a_function(model: str, part: Json, media: str) -> None:
    found = contents(*HELLO, calling(call()), result(content=[text("see"), part]), model=model)[2]["parts"][0]
    held = found["functionResponse"]
    assert held["response"] == {"output": "see"}
    assert [each["inlineData"]["mimeType"] for each in held["parts"]] == [media]
    alone = contents(*HELLO, calling(call()), result(content=[part]), model=model)[2]["parts"][0]
    assert alone["functionResponse"]["response"] == {"output": ""}


REFUSED_IN_RESULTS = [
    (FLASH, image(PNG)),
    (FLASH, file(PDF)),
    (FLASH_3, image("data:image/heic;base64,YQ==")),
    (FLASH_3, image("https://a.example/b.png")),
    (FLASH_3, file("data:video/mp4;base64,YQ==")),
    (FLASH_3, file("data:text/csv;base64,YQ==")),
]


@pytest.mark.parametrize(("model", "part"), REFUSED_IN_RESULTS)
def test_what_the_result_of_a_function_cannot_hold(model: str, part: Json) -> None:
    assert refusal(model, [*HELLO, calling(call()), result(content=[part])]).param == "messages[2].content[0]"


def test_vertex_fetches_for_results_too() -> None:
    given = [*HELLO, calling(call()), result(content=[image("gs://b/a.png")])]
    parts = translate(FLASH_3, given, vertex=True)["contents"][2]["parts"][0]["functionResponse"]["parts"]
    assert parts == [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}]


NEVER = [
    image("data:image/svg+xml;base64,PHN2Zy8+"),
    image(uri("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    image(uri("image/gif", b"GIF89a")),
    image(uri("image/png", b"GIF89a" + b"\0" * 20)),
    image("data:image/bmp;base64,YQ=="),
    image("data:image/tiff;base64,YQ=="),
    image("data:image/avif;base64,YQ=="),
    image("https://a.example/b.svg"),
    image("https://a.example/b", format="image/svg+xml"),
    file(f"data:{DOCX};base64,UEsDBA=="),
    file(uri("application/pdf", b"PK\x03\x04" + b"\0" * 20)),
    file("data:application/msword;base64,YQ=="),
    file("data:application/vnd.ms-excel;base64,YQ=="),
    file("data:application/vnd.ms-powerpoint;base64,YQ=="),
    file("data:application/zip;base64,UEsDBA=="),
    file("data:application/octet-stream;base64,YQ=="),
    file("YQ==", filename="a.svg"),
]


@pytest.mark.parametrize("part", NEVER)
@pytest.mark.parametrize("vertex", [False, True])
def test_types_that_the_service_refuses(part: Json, vertex: bool) -> None:
    refused = refusal(messages=user(part), vertex=vertex)
    assert refused.code == "unsupported_value"
    assert refused.param is not None
    assert refused.param.startswith("messages[0].content[0].")


@pytest.mark.parametrize(
    ("name", "media"),
    [("a.csv", "text/csv"), ("a.html", "text/html"), ("a.txt", "text/plain"), ("A.JSON", "application/json"),
     ("a.xml", "text/xml"), ("a.pdf", "application/pdf"), ("a.mp3", "audio/mp3"), ("a.mp4", "video/mp4")],
)  # fmt: skip
def test_a_name_tells_the_type_where_the_data_does_not(name: str, media: str) -> None:
    request, dropped = noting(messages=user(file("data:application/octet-stream;base64,YSxi", filename=name)))
    assert request["contents"][0]["parts"][0]["inlineData"] == {"mimeType": media, "data": "YSxi"}
    assert dropped == ()


MISTAKEN = [
    (image(uri("image/png", b"\xff\xd8\xff\xe0" + b"\0" * 20)), "image/jpeg", "image_url.url"),
    (image(uri("image/jpeg", b"\x89PNG\r\n\x1a\n" + b"\0" * 20)), "image/png", "image_url.url"),
    (image(uri("image/gif", b"RIFF\0\0\0\0WEBPVP8 ")), "image/webp", "image_url.url"),
    (image(uri("image/png", b"%PDF-1.7")), "application/pdf", "image_url.url"),
    (image(uri("image/svg+xml", b"\x89PNG\r\n\x1a\n")), "image/png", "image_url.url"),
    (image(uri("application/octet-stream", b"\x89PNG\r\n\x1a\n")), "image/png", "image_url.url"),
    (image(uri("image/jpeg", b"\0\0\0\x18ftypheic" + b"\0" * 9)), "image/heic", "image_url.url"),
    (file(uri("application/pdf", b"\x89PNG\r\n\x1a\n")), "image/png", "file.file_data"),
    (file("/9j/4AAQ", filename="a.png"), "image/jpeg", "file.file_data"),
    (
        {"type": "input_audio", "input_audio": {"data": "T2dnUwAA", "format": "wav"}},
        "audio/ogg",
        "input_audio.data",
    ),
]


@pytest.mark.parametrize(("part", "media", "place"), MISTAKEN)
def test_the_type_of_the_first_bytes_is_sent_and_noted(part: Json, media: str, place: str) -> None:
    request, dropped = noting(messages=user(part))
    assert request["contents"][0]["parts"][0]["inlineData"]["mimeType"] == media
    assert dropped == (f"messages[].content[].{place}={media}",)


def test_images_of_an_earlier_answer_go_back_to_the_model_that_made_them() -> None:
    told = {"role": "assistant", "content": "see", "images": [PAINTED], "extra_content": signed("c2ln")}
    for model in ("gemini-2.5-flash-image", "gemini-3-pro-image-preview"):
        parts = contents(*HELLO, told, *HELLO, model=model)[1]["parts"]
        assert parts == [
            {"text": "see"},
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": "c2ln"},
        ]
    request, dropped = noting(FLASH, [*HELLO, told, *HELLO])
    assert request["contents"][1]["parts"] == [{"text": "see", "thoughtSignature": "c2ln"}]
    assert dropped == ("messages[].images",)


def test_speech_of_an_earlier_answer() -> None:
    audio = {"id": "a", "data": "YQ==", "expires_at": 0, "transcript": "", "mime_type": "audio/L16"}
    told = {"role": "assistant", "content": "", "audio": audio}
    parts = contents(*HELLO, told, *HELLO, model="gemini-2.5-flash-preview-tts")[1]["parts"]
    assert parts == [{"inlineData": {"mimeType": "audio/L16", "data": "YQ=="}}]
    spoken = {"role": "assistant", "content": None, "audio": {"id": "a", "transcript": "said"}}
    request, dropped = noting(FLASH, [*HELLO, spoken, *HELLO])
    assert (request["contents"][1]["parts"], dropped) == ([{"text": "said"}], ("messages[].audio",))
    refusal(FLASH, [*HELLO, told, *HELLO])


@pytest.mark.parametrize(
    "model", ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.5-flash", "x"]
)
def test_older_models_go_on_with_a_last_assistant_message(model: str) -> None:
    asked = [*HELLO, {"role": "assistant", "content": "{"}]
    assert translate(model, asked)["contents"][-1] == {"role": "model", "parts": [{"text": "{"}]}
