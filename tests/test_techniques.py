"""Golden transcripts: the exact calls of each technique on a scripted model are the paper's procedure."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import palmette
from palmette.core.errors import BadParameter, Unanswered, UnknownName, Unsupported
from palmette.core.message import Request, Response, Text, TokenScore
from palmette.core.model import Capabilities
from palmette.prompts.act.react import react
from palmette.prompts.act.reflexion import reflexion
from palmette.prompts.ask.few_shot import few_shot
from palmette.prompts.ask.generated_knowledge import generated_knowledge
from palmette.prompts.ask.prompt_chain import prompt_chain
from palmette.prompts.ask.step_back import step_back
from palmette.prompts.ask.zero_shot import zero_shot
from palmette.prompts.reason.chain_of_thought import chain_of_thought
from palmette.prompts.reason.chain_of_verification import chain_of_verification
from palmette.prompts.reason.least_to_most import least_to_most
from palmette.prompts.reason.program_aided import program_aided
from palmette.prompts.reason.self_consistency import self_consistency, voted
from palmette.prompts.reason.tree_of_thoughts import tree_of_thoughts
from palmette.prompts.reason.zero_shot_cot import zero_shot_cot
from palmette.prompts.run import Result, Solver
from palmette.prompts.search import prompt_search
from palmette.prompts.task import Example, Task
from palmette.prompts.techniques import TECHNIQUES, technique
from palmette.prompts.tools.calculator import calculator

QUESTION = "Jana has 3 eggs and buys 4. How many has she?"
SHOWN = {"question": "1 + 1?", "rationale": "1 + 1 = 2.", "output": 2, "program": "answer = 1 + 1",
         "steps": [("What is 1?", "1.")], "principle": "What is addition?"}  # fmt: skip
TASK = Task("Solve it.", output=int, examples=[SHOWN], hint=False)
PLAIN = Capabilities(n=True, count_tokens=True)


def scripted(*lines: Any, able: Capabilities = PLAIN) -> Any:
    return palmette.scripted(list(lines), capabilities=able)


def calls(result: Result) -> list[tuple[str, str]]:
    """(label, prompt) of every call."""
    return [(step.label, step.prompt) for step in result.steps if step.request is not None]


def test_zero_shot_is_the_instruction_and_the_question() -> None:
    done = zero_shot(scripted("7"), TASK)(question=QUESTION)
    assert calls(done) == [("answer", f"[system] Solve it.\n[user] {QUESTION}")]
    assert done.value == 7 and done.calls == 1
    assert done.steps[0].request is not None and done.steps[0].request.temperature == 0.0


def test_few_shot_puts_pairs_of_the_same_format_before_the_question() -> None:
    done = few_shot(scripted("7"), TASK)(question=QUESTION)
    assert calls(done) == [
        ("answer", f"[system] Solve it.\n[user] 1 + 1?\n[assistant] 2\n[user] {QUESTION}"),
    ]
    text = Task("Solve it.", output=int, examples=[SHOWN], hint=False, form="text")
    assert calls(few_shot(scripted("7"), text)(QUESTION)) == [
        ("answer", f"[user] Solve it.\n\nQ: 1 + 1?\nA: 2\n\nQ: {QUESTION}\nA:"),
    ]


def test_chain_of_thought_shows_rationales_and_reads_the_end() -> None:
    done = chain_of_thought(scripted("3 + 4 = 7. The answer is 7."), TASK)(QUESTION)
    assert calls(done) == [
        (
            "reasoning and answer",
            f"[system] Solve it.\n[user] 1 + 1?\n[assistant] 1 + 1 = 2. The answer is 2.\n[user] {QUESTION}",
        )
    ]
    assert (done.value, done.reasoning) == (7, "3 + 4 = 7.")


def test_zero_shot_cot_reasons_in_one_call_and_extracts_in_another() -> None:
    done = zero_shot_cot(scripted("She has 3 and 4.", "7"), TASK)(QUESTION)
    first = f"[system] Solve it.\n[user] {QUESTION}\nLet's think step by step."
    assert calls(done) == [
        ("rationale", first),
        ("answer", f"{first}\n[assistant] She has 3 and 4.\n[user] Therefore, the answer (integer) is"),
    ]
    text = Task("", output=int, hint=False, form="text")
    done = zero_shot_cot(scripted("She has 3 and 4.", "7"), text)(QUESTION)
    first = f"[user] Q: {QUESTION}\nA: Let's think step by step."
    assert [prompt for _, prompt in calls(done)] == [
        first, f"{first} She has 3 and 4.\nTherefore, the answer (integer) is",
    ]  # fmt: skip


def test_zero_shot_cot_can_make_the_reply_begin_with_the_trigger() -> None:
    able = Capabilities(regex=True, full_logits=True)
    model = scripted("Let us think. 3 and 4.", "7", able=able)
    done = zero_shot_cot(model, TASK, trigger="Let us think.", begin=True)(QUESTION)
    first, second = model.requests
    assert first.output is not None and first.output.value == "Let us think\\.[^\n]*"
    assert first.messages[-1].text == QUESTION and second.messages[-2].text == "Let us think. 3 and 4."
    assert second.output is not None and second.output.kind == "regex" and done.value == 7


def test_self_consistency_draws_k_paths_with_seeds_of_their_own() -> None:
    lines = [f"x. The answer is {n}." for n in (7, 8, 7, 9, 7)]
    model = scripted(*lines)
    done = self_consistency(model, TASK, 5, early_stop=False, seed=10)(QUESTION)
    assert done.value == 7 and done.confidence == pytest.approx(0.6)
    assert done.votes == ((7, 3), (8, 1), (9, 1))
    assert [request.seed for request in model.requests] == [10, 11, 12, 13, 14]
    assert {request.temperature for request in model.requests} == {0.7}
    assert len({prompt for _, prompt in calls(done)}) == 1


def test_self_consistency_counts_no_reply_that_cannot_be_read() -> None:
    model = scripted("The answer is 1.", "No idea.", "The answer is two.", "The answer is 3.", "The answer is 3.")
    done = self_consistency(model, TASK, 5, early_stop=False)(QUESTION)
    assert (done.value, done.unread, done.confidence) == (3, 2, pytest.approx(2 / 3))
    failed = self_consistency(scripted("?", "?"), TASK, 2).run(QUESTION)
    assert not failed.answered and failed.unread == 2 and "none of 2 paths" in failed.failure


@given(st.lists(st.sampled_from([1, 2, 3, None]), min_size=1, max_size=12))
def test_stopping_early_never_changes_the_vote(answers: list[int | None]) -> None:
    lines = ["?" if n is None else f"The answer is {n}." for n in answers]
    whole = self_consistency(scripted(*lines), TASK, len(lines), early_stop=False).run(QUESTION)
    short = self_consistency(scripted(*lines), TASK, len(lines)).run(QUESTION)
    assert short.value == whole.value and short.answered == whole.answered
    assert short.calls <= whole.calls


def test_weighted_votes_follow_the_paths_probabilities() -> None:
    def said(n: int, p: float) -> Response:
        return Response((Text(f"The answer is {n}."),), logprobs=(TokenScore("…", math.log(p)),))

    able = Capabilities(top_logprobs=5)
    model = scripted(said(1, 0.2), said(1, 0.2), said(2, 0.9), able=able)
    done = self_consistency(model, TASK, 3, weigh="probability")(QUESTION)
    assert done.value == 2 and done.confidence == pytest.approx(0.9 / 1.3)
    assert {request.top_logprobs for request in model.requests} == {0}
    with pytest.raises(Unsupported, match="weigh='count'"):
        self_consistency(scripted(able=PLAIN), TASK, 3, weigh="probability")


def test_equal_votes_go_to_the_answer_that_came_first() -> None:
    paths = [Result(2), Result(1), Result(1), Result(2)]
    assert voted(paths, [1.0] * 4).value == 2


def test_react_is_the_loop_of_the_papers_notebook() -> None:
    model = scripted(
        "I multiply first.\nAction 1: calculator[3*4]",
        "That was no action",  # the repair call follows
        "calculator[12+1]",
        "Now I know.\nAction 3: finish[13]",
    )
    done = react(model, Task("", output=int), [calculator], protocol="text")(QUESTION)
    assert done.value == 13 and done.notes == ("1 steps could not be read and were asked for again",)
    head = done.steps[0].prompt.removesuffix("Thought 1:")
    one = "Thought 1: I multiply first.\nAction 1: calculator[3*4]\nObservation 1: 12\n"
    two = "Thought 2: That was no action\nAction 2: calculator[12+1]\nObservation 2: 13\n"
    assert calls(done) == [
        ("step 1", f"{head}Thought 1:"),
        ("step 2", f"{head}{one}Thought 2:"),
        ("repair 2", f"{head}{one}Thought 2: That was no action\nAction 2:"),
        ("step 3", f"{head}{one}{two}Thought 3:"),
    ]
    assert [request.stop for request in model.requests] == [
        ("\nObservation 1:",), ("\nObservation 2:",), ("\n",), ("\nObservation 3:",),
    ]  # fmt: skip
    assert f"Question: {QUESTION}" in head and "calculator[expression]" in head


def test_react_is_made_to_finish_when_its_steps_are_used_up() -> None:
    model = scripted("Again.\nAction 1: calculator[1]", "Again.\nAction 2: calculator[2]", "5]")
    done = react(model, Task("", output=int), [calculator], protocol="text", steps=3)(QUESTION)
    assert done.value == 5
    assert done.steps[-1].prompt.endswith("Thought 3: I have to answer now.\nAction 3: finish[")


def test_tree_of_thoughts_is_breadth_first_search_by_value() -> None:
    lines = [
        "1. a\n2. b",  # propose from the root
        "…\nsure", "…\nimpossible",  # value a, b (n = 1)
        "c\na", "d\nd",  # propose from a, from b; breadth 2 keeps both
        "maybe", "sure", "impossible",  # value a→c, a→a, b→d; the second b→d is a duplicate: 0, and no call
        "The answer is 7.",
    ]  # fmt: skip
    done = tree_of_thoughts(scripted(*lines), TASK, 2, k=2, n=1, breadth=2)(QUESTION)
    assert done.value == 7 and done.reasoning == "a\na"
    labels = [step.label for step in done.steps]
    assert labels == [
        "propose 1", "value 1 1", "value 1 2", "step 1", "propose 2 1", "propose 2 2", "value 2 1", "value 2 2",
        "value 2 3", "step 2", "answer",
    ]  # fmt: skip
    assert done.steps[3].text == "kept  20  a\nkept  0.001  b"
    assert done.steps[9].text == "kept  1  a → c\nkept  20  a → a\nleft  0.001  b → d\nleft  0  b → d"
    assert "Steps so far:\na\na" in done.steps[-1].prompt


def test_tree_of_thoughts_votes_over_samples() -> None:
    model = scripted("p", "q", "The best choice is 2", "best choice is 2", "The best choice is 1", "The answer is 7.")
    done = tree_of_thoughts(model, TASK, 1, generate="sample", k=2, evaluate="vote", n=3, breadth=1, seed=5)(QUESTION)
    assert done.reasoning == "q"
    assert [r.seed for r in model.requests] == [5, 6, 5, 6, 7, 5]
    assert "Choice 1:\np\n\nChoice 2:\nq" in model.requests[2].messages[-1].text


def test_tree_of_thoughts_backtracks_in_depth_first_search() -> None:
    lines = ["a\nb", "sure", "maybe", "x", "impossible", "y", "sure", "The answer is 7."]
    done = tree_of_thoughts(scripted(*lines), TASK, 2, k=2, n=1, search="dfs")(QUESTION)
    assert done.reasoning == "b\ny"
    dead = tree_of_thoughts(scripted("a", "impossible"), TASK, 1, k=1, n=1, search="dfs").run(QUESTION)
    assert dead.failure == "every branch was given up"


def test_least_to_most_decomposes_and_then_carries_the_answers_along() -> None:
    model = scripted(f"1. How many does she buy?\n2. {QUESTION}", "She buys 4.", "3 + 4 = 7. The answer is 7.")
    done = least_to_most(model, Task("Solve it.", output=int, hint=False))(QUESTION)
    assert [label for label, _ in calls(done)] == ["decomposition", "sub-question 1", "answer"]
    assert calls(done)[1][1] == f"[system] Solve it.\n[user] {QUESTION}\n\nQ: How many does she buy?\nA:"
    assert calls(done)[2][1] == (
        f"[system] Solve it.\n[user] {QUESTION}\n\nQ: How many does she buy?\nA: She buys 4.\n\nQ: {QUESTION}\nA:"
    )
    assert done.value == 7


def test_program_aided_runs_the_program_and_not_the_model() -> None:
    done = program_aided(scripted("```python\na = 3\nanswer = a + 4\n```"), TASK)(QUESTION)
    assert done.value == 7
    ((label, prompt),) = calls(done)
    assert label == "program" and "[assistant] ```python\nanswer = 1 + 1\n```" in prompt
    assert [step.text for step in done.steps[1:]] == ["answer = 7"]


def test_program_aided_sends_errors_back_and_votes_over_executions() -> None:
    done = program_aided(scripted("answer = 1 / 0", "answer = 7"), TASK, retries=1)(QUESTION)
    assert done.value == 7 and "ZeroDivisionError" in calls(done)[1][1]
    done = program_aided(scripted("answer = 7", "import os", "answer = 7"), TASK, 3)(QUESTION)
    assert done.votes == ((7, 2.0),) and done.unread == 1


def test_reflexion_tries_again_with_reflections_in_a_bounded_memory() -> None:
    model = scripted("1", "incorrect", "I should add.", "2", "incorrect", "I should count.", "7", "correct")
    done = reflexion(model, TASK, 3, actor=zero_shot, memory=1)(QUESTION)
    assert done.value == 7 and done.notes == ()
    assert [label for label, _ in calls(done)] == [
        "answer", "evaluation", "reflection", "answer", "evaluation", "reflection", "answer", "evaluation",
    ]  # fmt: skip
    last = calls(done)[6][1]
    assert "Reflections on previous attempts:\n- I should count." in last and "I should add." not in last


def test_reflexion_says_when_its_feedback_is_an_oracles() -> None:
    done = reflexion(
        scripted("1", "Add.", "7"), TASK, actor=zero_shot, check=lambda _, r: r.value == 7, oracle=True,
        strategy="last_attempt_and_reflexion",
    )(QUESTION)  # fmt: skip
    assert done.value == 7 and done.notes == ("the feedback came from an oracle that knows the right answer",)
    assert "A previous attempt failed:\nAnswer: 1" in calls(done)[2][1]
    with pytest.raises(BadParameter, match="oracle"):
        reflexion(scripted(), TASK, oracle=True)


def test_step_back_asks_the_general_question_first() -> None:
    done = step_back(scripted("What are sums?", "Sums add.", "The answer is 7."), TASK)(QUESTION)
    assert [label for label, _ in calls(done)] == ["step-back question", "step-back answer", "answer"]
    assert calls(done)[0][1].endswith(f"[user] 1 + 1?\n[assistant] What is addition?\n[user] {QUESTION}")
    assert calls(done)[1][1] == "[user] What are sums?"
    assert f"{QUESTION}\n\nBackground (question: What are sums?)\nSums add." in calls(done)[2][1]


def test_verification_questions_are_answered_without_the_draft() -> None:
    model = scripted("She has DRAFT.", "1. Does she buy 4?\n2. Had she 3?", "Yes.", "Yes, 3.", "The answer is 7.")
    done = chain_of_verification(model, TASK)(QUESTION)
    assert [label for label, _ in calls(done)] == [
        "draft", "plan", "verification 1", "verification 2", "revision",
    ]  # fmt: skip
    assert [prompt for _, prompt in calls(done)[2:4]] == ["[user] Does she buy 4?", "[user] Had she 3?"]
    assert "DRAFT" in calls(done)[1][1] and "Q: Had she 3?\nA: Yes, 3." in calls(done)[4][1]


def test_generated_knowledge_keeps_the_most_confident_prediction() -> None:
    def said(text: str, p: float) -> Response:
        return Response((Text(text),), logprobs=(TokenScore(text, math.log(p)),))

    model = scripted("Eggs are laid.", "Sums add.", "Sums add.", said("9", 0.5), said("6", 0.3), said("7", 0.8),
                     able=Capabilities(top_logprobs=0))  # fmt: skip
    done = generated_knowledge(model, TASK, 3)(QUESTION)
    assert (done.value, done.reasoning, done.confidence) == (7, "Sums add.", pytest.approx(0.8))
    assert [label for label, _ in calls(done)] == [*(f"statement {i}" for i in (1, 2, 3)), *["answer"] * 3]
    assert {(r.temperature, r.top_p, r.max_tokens, r.stop) for r in model.requests[:3]} == {(1.0, 0.5, 64, ("\n",))}
    q0, q1, q2 = (prompt.rpartition("[user] ")[2] for _, prompt in calls(done)[3:])
    assert (q0, q1, q2) == (QUESTION, f"Eggs are laid. {QUESTION}", f"Sums add. {QUESTION}")
    with pytest.raises(Unsupported):
        generated_knowledge(scripted(), TASK)


def test_prompt_chain_validates_every_link() -> None:
    first = Task("Quote.", inputs={"text": str}, output=list[str], hint=False)
    last = Task("Count.", inputs={"quotes": list[str]}, output=int, hint=False)
    done = prompt_chain(scripted('["a", "b"]', "2"), last, links=[("quotes", first)])(text="a b")
    assert calls(done) == [("quotes", "[system] Quote.\n[user] a b"), ("answer", '[system] Count.\n[user] ["a", "b"]')]
    broken = prompt_chain(scripted("[1]"), last, links=[("quotes", first)]).run(text="a b")
    assert "link 'quotes'" in broken.failure and broken.calls == 1
    with pytest.raises(BadParameter, match="comes after it"):
        prompt_chain(scripted(), last, links=[("a", last), ("quotes", first)])


def test_inline_calls_continue_their_own_text() -> None:
    able = Capabilities(regex=True, full_logits=True)
    model = scripted("[3*4=", "[3*4=12] [12+1=", "[3*4=12] [12+1=13] The answer is 13.", able=able)
    done = TECHNIQUES["inline_calls"](model, Task("", output=int, hint=False))(QUESTION)
    assert done.value == 13
    assert [step.label for step in done.steps] == ["text 1", "result 1", "text 2", "result 2", "text 3"]
    patterns = [request.output.value for request in model.requests if request.output]
    assert patterns[1].startswith(r"\[3\*4=12\]") and patterns[2].startswith(r"\[3\*4=12\] \[12\+1=13\]")


def test_prompt_search_reports_on_examples_that_chose_nothing() -> None:
    pool = [{"question": f"{n}?", "output": n} for n in range(8)]
    task = Task("Bad.", output=int, examples=pool, hint=False)

    def reply(request: Request) -> str:
        text = request.messages[-1].text
        if "The instruction was to" in text:
            return "repeat the number" if request.seed == 1 else "say zero"
        if "Generate a variation" in text:
            return "repeat the number, please"
        return text.strip("?") if "repeat" in request.messages[0].text else "0"

    model = palmette.scripted(reply, capabilities=PLAIN)
    found = prompt_search(model, task, candidates=2, rounds=1, keep=1, shown=2)
    assert found.task.instruction == "repeat the number" and found.train == 1.0 and found.held_out == 1.0
    assert found.baseline is not None and found.baseline < 1 and found.complete
    # 4 for the baseline, 2 proposals × 4, 2 variations of which one is new × 4, 4 for the report
    assert found.calls == 4 + 2 + 2 * 4 + 2 + 4 + 4 == len(model.requests)
    train = {r.messages[-1].text for r in model.requests if "say zero" in r.messages[0].text}
    reported = {r.messages[-1].text for r in model.requests if r.messages[0].text == "Bad."}
    assert len(train) == len(reported) == 4 and not train & reported
    short = prompt_search(palmette.scripted(reply, capabilities=PLAIN), task, candidates=2, budget=9)
    assert not short.complete and short.held_out is None and short.calls <= 9


# -- what they share -------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_shown_and_not_guessed() -> None:
    with pytest.raises(Unanswered, match="'7 or 8' is no int") as caught:
        zero_shot(scripted("7 or 8"), TASK)(QUESTION)
    assert isinstance(caught.value.result, Result) and caught.value.result.text == "7 or 8"


def test_the_same_code_runs_in_an_event_loop_with_calls_side_by_side() -> None:
    model = palmette.scripted("The answer is 7.", pause=0.05, capabilities=PLAIN)

    async def main() -> tuple[Result, float]:
        start = asyncio.get_running_loop().time()
        done = await self_consistency(model, TASK, 8, early_stop=False).acall(QUESTION)
        return done, asyncio.get_running_loop().time() - start

    done, seconds = asyncio.run(main())
    assert done.value == 7 and len(model.requests) == 8
    assert seconds < 8 * 0.05 * 0.8  # eight at once
    blocking = self_consistency(palmette.scripted("The answer is 7.", capabilities=PLAIN), TASK, 8, early_stop=False)
    assert [s.label for s in blocking(QUESTION).steps] == [s.label for s in done.steps]


def test_a_budget_ends_a_technique_with_what_was_done() -> None:
    solver = zero_shot_cot(scripted("a", "7"), TASK)
    limited = Solver(solver.technique, solver.model, solver.task, solver.solve, budget=1)
    done = limited.run(QUESTION)
    assert not done.answered and "1 of the 1 allowed" in done.failure and done.calls == 1


def test_options_of_the_user_win_over_a_techniques_wishes_and_not_over_its_needs() -> None:
    model = scripted(*["The answer is 7."] * 2)
    self_consistency(model, TASK, 2, temperature=0.2, max_tokens=50, early_stop=False)(QUESTION)
    assert {(r.temperature, r.max_tokens) for r in model.requests} == {(0.2, 50)}
    with pytest.raises(palmette.PalmetteError, match="no option 'temprature'"):
        zero_shot(scripted(), TASK, temprature=1)


@pytest.mark.parametrize("spec", ["few_shot:1", "cot", "self_consistency:3,weigh=count", "few_shot:1,order=random"])
def test_a_technique_is_named_by_a_spec(spec: str) -> None:
    solver = technique(spec, palmette.scripted("The answer is 7."), TASK)
    assert solver.run(QUESTION).calls >= 1


def test_a_wrong_spec_names_the_near_miss() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'few_shot'"):
        technique("fewshot:4", scripted(), TASK)
    with pytest.raises(UnknownName, match="is called 'orders'"):
        technique("few_shot:4,orders=x", scripted(), TASK)
    with pytest.raises(BadParameter, match="order should be one of"):
        technique("few_shot:4,order=x", scripted(), TASK)


# -- demonstrations --------------------------------------------------------------------------------------------

POOL = [
    {"question": "What is the colour of grass?", "output": "green"},
    {"question": "What is the colour of blood?", "output": "red"},
    {"question": "What is the colour of leaves?", "output": "green"},
    {"question": "Who wrote it?", "output": "red"},
    {"question": "Which animal barks?", "output": "green"},
]
COLOURS = Task(output=Literal["red", "green"], examples=POOL, hint=False)


def shown(asked: str, **how: Any) -> list[str]:
    done = few_shot(palmette.scripted("red", capabilities=PLAIN), COLOURS, **how).run(asked)
    assert done.steps[0].request is not None
    return [m.text for m in done.steps[0].request.messages if m.role == "user"][:-1]


def test_demonstrations_are_chosen_by_what_was_asked_for() -> None:
    assert shown("Anything?", k=2) == [POOL[0]["question"], POOL[1]["question"]]
    assert shown("Which animal barks at grass?", k=1, choose="nearest") == ["Which animal barks?"]
    assert shown("Any?", k=3, choose="random") == shown("Any?", k=3, choose="random", choice_seed=0)
    assert len({tuple(shown("Any?", k=3, choose="random", choice_seed=s)) for s in range(8)}) > 2
    outputs = [next(e["output"] for e in POOL if e["question"] == q) for q in shown("Any?", k=4, choose="balanced")]
    assert sorted(outputs) == ["green", "green", "red", "red"]


def test_diverse_demonstrations_are_near_but_not_alike() -> None:
    pool = ["the colour of grass", "the colour of grass now", "grass and rain", "a dog"]
    task = Task(output=str, examples=[{"question": q, "output": "x"} for q in pool], hint=False)

    def chosen(choose: str) -> list[str]:
        solver = few_shot(palmette.scripted("x", capabilities=PLAIN), task, 2, choose)  # type: ignore[arg-type]
        return [m.text for m in solver.run("colour of grass").steps[0].request.messages[:-1] if m.role == "user"]  # type: ignore[union-attr]

    assert chosen("nearest") == pool[:2]
    assert chosen("diverse") == [pool[0], pool[2]]


def test_order_is_a_parameter() -> None:
    asked = "Which animal barks at grass?"
    near = shown(asked, k=3, choose="nearest")
    assert shown(asked, k=3, choose="nearest", order="nearest_last") == near[::-1]
    assert shown(asked, k=3, choose="nearest", order="nearest_first") == near
    places = [[e["question"] for e in POOL].index(q) for q in shown(asked, k=3, choose="nearest", order="given")]
    assert places == sorted(places)


def test_a_demonstration_of_the_question_itself_is_left_out() -> None:
    done = few_shot(palmette.scripted("red", capabilities=PLAIN), COLOURS).run("Who wrote it?")
    assert done.steps[0].prompt.count("Who wrote it?") == 1
    assert done.notes == ("a demonstration asked what is asked here; it was left out",)


def test_a_budget_of_tokens_drops_demonstrations_and_never_cuts_the_question() -> None:
    long = "word " * 30 + "?"
    done = few_shot(palmette.scripted("red", capabilities=PLAIN), COLOURS, room=42).run(long)
    assert done.steps[0].request is not None
    assert done.steps[0].request.messages[-1].text == long
    assert len(done.steps[0].request.messages) == 1 + 2 * 1 and len(done.notes) == 4
    none = few_shot(palmette.scripted("red", capabilities=PLAIN), COLOURS, room=3).run(long)
    assert none.steps[0].request is not None and [m.text for m in none.steps[0].request.messages] == [long]


def test_calibration_divides_out_what_the_prompt_alone_prefers() -> None:
    preference = {"red": 0.9, "green": 0.1}
    informed = {"red": 0.8, "green": 0.2}

    def reply(request: Request) -> Response:
        assert request.output is not None
        (text,) = request.output.value
        table = informed if "sky" in request.messages[-1].text else preference
        return Response((Text(text),), logprobs=(TokenScore(text, math.log(table[text])),))

    able = Capabilities(choices=True, full_logits=True, top_logprobs=0, regex=True)
    model = palmette.scripted(reply, capabilities=able)
    done = few_shot(model, COLOURS, 1, calibrate=True)("The sky?")
    assert done.value == "green" and done.confidence == pytest.approx(2 / (2 + 0.8 / 0.9))


def test_bad_tasks_are_refused_with_the_row() -> None:
    with pytest.raises(BadParameter, match="example 1: output: at /: 'x' is no int"):
        Task(output=int, examples=[{"question": "?", "output": 1}, {"question": "?", "output": "x"}])
    with pytest.raises(UnknownName, match=r"example 0.*'qestion'. Did you mean 'question'"):
        Task(examples=[{"qestion": "?", "output": "x"}])
    with pytest.raises(BadParameter, match="example 0 has no 'output'"):
        Task(examples=[{"question": "?"}])
    with pytest.raises(UnknownName, match="'nmae'"):
        Task(inputs={"name": str}, template="Hello {nmae}")
    with pytest.raises(BadParameter, match="the input 'b' is missing"):
        zero_shot(scripted("1"), Task(inputs={"a": int, "b": int}))(a=1)
    with pytest.raises(BadParameter, match="answer must hold"):
        Task(answer="no hole")
    assert Task(inputs={"a": str, "b": str}, template="{a}-{b}").said({"a": "{b}", "b": "x"}) == "{b}-x"
    assert isinstance(Task(examples=[Example({"question": "?"}, "x")]).examples[0], Example)
