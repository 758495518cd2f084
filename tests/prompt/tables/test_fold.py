"""JSON as tables: what it looks like."""

import json
from typing import Any

import pytest

from tokenguard.prompt.tables import fold, is_folded, minify, unfold

FLIGHTS = [
    {"number": "HAT1", "seats": {"economy": 12, "business": 3}, "price": 152, "code": "0042", "note": None},
    {"number": "HAT2", "seats": {"economy": 7, "business": 0}, "price": 103.5, "code": "17", "note": "late"},
]


def folded(document: Any) -> str:
    """What a document becomes, once it was read back."""
    text = json.dumps(document)
    found = fold(text)
    assert found is not None
    assert unfold(found) == minify(text)
    return found


def test_a_list_of_objects_becomes_a_header_and_a_line_for_each() -> None:
    assert folded({"id": 7, "flights": FLIGHTS, "done": True}) == (
        '{"id":7,"flights":[2]{number,seats{economy,business},price,code$,note}\n'
        "HAT1,12,3,152,0042,\n"
        "HAT2,7,0,103.5,17,late\n"
        ',"done":true}'
    )


def test_an_object_of_objects_names_its_lines_and_says_the_key_once() -> None:
    cards = {name: {"brand": "visa", "last": last, "id": name} for name, last in (("c1", "7447"), ("c2", "1907"))}

    assert folded(cards) == "{2}{brand,last$,id=*}\nc1,visa,7447\nc2,visa,1907"


def test_what_is_the_same_in_three_rows_stands_in_the_header() -> None:
    rows = [{"id": number, "currency": "USD", "tags": ["a"]} for number in range(3)]

    assert folded(rows) == '[3]{id,currency="USD",tags=["a"]}\n0\n1\n2'


def test_equal_values_of_other_types_are_no_constant() -> None:
    rows = [{"id": at, "a": a, "b": b} for at, (a, b) in enumerate([(1, 0.0), (True, -0.0), (1.0, 0.0)])]

    assert folded(rows) == "[3]{id,a,b}\n0,1,0.0\n1,true,-0.0\n2,1.0,0.0"


def test_rows_that_would_be_empty_lines_are_no_table() -> None:
    assert folded([{"name": "same", "of": "all"}] * 4) == json.dumps(
        [{"name": "same", "of": "all"}] * 4, separators=(",", ":")
    )


def test_keys_that_some_rows_do_not_have_are_marked_and_their_order_is_kept() -> None:
    rows = [{"alpha": 1, "gamma": 3}, {"alpha": 1, "beta": 2, "gamma": 3}, {"alpha": "~", "gamma": ""}]

    assert folded(rows) == '[3]{alpha,beta?,gamma}\n1,~,3\n1,2,3\n"~",~,""'


def test_keys_that_are_absent_at_the_end_of_a_row_are_left_out() -> None:
    rows = [{"name": "a", "note": None}, {"name": "b"}, {"name": "c", "note": "x", "more": 1}, {"more": 2}]

    assert folded(rows) == "[4]{name?,note?,more?}\na,\nb\nc,x,1\n~,~,2"


def test_a_few_kinds_of_objects_have_a_header_each_and_a_tag_in_each_row() -> None:
    events = [
        {"type": "login", "user": "ann", "ip": "10.0.0.1"},
        {"type": "order", "id": 7, "total": 20.5, "customer": "bob"},
        {"type": "login", "user": "cy", "ip": "10.0.0.9"},
        {"type": "order", "id": 8, "total": 3.25, "customer": "ann"},
        {"error": "lost"},
    ]

    assert folded(events) == (
        '[5]a{type="login",user,ip}b{type="order",id,total,customer}\n'
        "a,ann,10.0.0.1\n"
        "b,7,20.5,bob\n"
        "a,cy,10.0.0.9\n"
        "b,8,3.25,ann\n"
        '~{"error":"lost"}'
    )


def test_kinds_of_objects_stand_behind_their_keys() -> None:
    cards = {
        "k1": {"source": "card", "brand": "visa"},
        "k2": {"source": "gift", "amount": 10},
        "k3": {"source": "card", "brand": "amex"},
        "k4": {"source": "gift", "amount": 25},
        "k5": {"lost": True},
    }

    assert folded(cards) == (
        '{5}a{source="card",brand}b{source="gift",amount}\nk1,a,visa\nk2,b,10\nk3,a,amex\nk4,b,25\nk5,~{"lost":true}'
    )


def test_objects_with_the_same_keys_in_other_orders_keep_them() -> None:
    rows = [{"left": 1, "right": 2}, {"right": 3, "left": 4}, {"left": 5, "right": 6}, {"right": 7, "left": 8}]

    assert folded(rows) == "[4]a{left,right}b{right,left}\na,1,2\nb,3,4\na,5,6\nb,7,8"


def test_a_row_that_is_no_such_object_says_its_own_value() -> None:
    rows = [*({"name": f"n{at}", "size": at} for at in range(4)), None, {"name": "c", "size": 3}, {}]

    assert folded(rows) == "[7]{name,size}\nn0,0\nn1,1\nn2,2\nn3,3\n~null\nc,3\n~{}"


def test_columns_that_were_said_before_are_named_by_their_number() -> None:
    legs = {day: [{"number": f"{day}{leg}", "price": leg} for leg in range(3)] for day in ("mon", "tue")}

    assert folded(legs) == (
        '{"mon":[3]{number,price}\nmon0,0\nmon1,1\nmon2,2\n,"tue":[3]{^1}\ntue0,0\ntue1,1\ntue2,2\n}'
    )


def test_an_earlier_header_serves_where_quotes_are_shorter_than_a_header_of_their_own() -> None:
    first = [{"postal_code": "AB1", "street_name": "x"}, {"postal_code": "CD2", "street_name": "y"}]
    second = [{"postal_code": "10", "street_name": "x"}, {"postal_code": "CD2", "street_name": "y"}]

    assert folded({"from": first, "to": second}) == (
        '{"from":[2]{postal_code,street_name}\nAB1,x\nCD2,y\n,"to":[2]{^1}\n"10",x\nCD2,y\n}'
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"one": "1", "two": "b"}] * 2, [{"one": 1, "two": "b"}] * 2),
        ([{"one": "1", "two": at} for at in range(3)], [{"one": "2", "two": at} for at in range(3)]),
        ([{"one": {"a": "1"}, "two": at} for at in range(2)], [{"one": {"a": 2}, "two": at} for at in range(2)]),
        ([{"one": {"a": "1"}, "two": at} for at in range(2)], [{"one": {"b": 2}, "two": at} for at in range(2)]),
        ([{"one": [{"a": at}] * 2, "two": at} for at in range(2)], [{"one": [3, at], "two": at} for at in range(2)]),
        (
            [{"one": f"https://example.com/{at}", "two": at} for at in range(5)],
            [{"one": f"https://example.org/{at}", "two": at} for at in range(5)],
        ),
    ],
    ids=["text", "constant", "text in a group", "other group", "lists", "addresses"],
)
def test_an_earlier_header_does_not_serve_for_what_it_cannot_say(first: Any, second: Any) -> None:
    found = folded({"first": first, "second": second})

    assert "{^1}" not in found


def test_an_earlier_header_with_keys_serves_only_where_rows_say_theirs() -> None:
    cards = {name: {"identifier": name, "of_brand": "b" + name} for name in ("c1", "c2")}
    others = {name: {"identifier": "x" + name, "of_brand": name} for name in ("c1", "c2")}

    assert folded({"a": 1, "b": 2, "mine": cards, "c": 3, "others": others, "again": cards}) == (
        '{"a":1,"b":2,"mine":{2}{identifier=*,of_brand}\nc1,bc1\nc2,bc2\n,"c":3,'
        '"others":{2}{identifier,of_brand=*}\nc1,xc1\nc2,xc2\n,'
        '"again":{2}{^1}\nc1,bc1\nc2,bc2\n}'
    )


def test_lists_in_a_list_share_a_header_and_have_empty_lines_between_them() -> None:
    ways = [[{"number": f"HAT{way}{leg}", "price": leg} for leg in range(way)] for way in (2, 0, 1)]

    assert folded(ways) == "[[2,0,1]]{number,price}\nHAT20,0\nHAT21,1\n\n\nHAT10,0"


def test_lists_of_unlike_objects_in_a_list_have_a_header_for_each_kind() -> None:
    lists = [[{"name": f"a{at}", "size": at} for at in range(2)], [{"title": f"b{at}", "pages": at} for at in range(2)]]

    assert folded(lists) == "[[2,2]]a{name,size}b{title,pages}\na,a0,0\na,a1,1\n\nb,b0,0\nb,b1,1"


def test_lists_inside_of_rows_are_said_without_their_names() -> None:
    orders = [
        {"id": at, "items": [{"sku": f"s{n}", "size": {"x": n, "y": 1}, "parts": [{"n": n}] * 2} for n in range(2)]}
        for at in range(3)
    ]
    orders[2]["items"] = []

    assert folded(orders) == (
        "[3]{id,items[]{sku,size{x,y},parts[]{n}}}\n"
        '0,[["s0",0,1,[[0],[0]]],["s1",1,1,[[1],[1]]]]\n'
        '1,[["s0",0,1,[[0],[0]]],["s1",1,1,[[1],[1]]]]\n'
        "2,[]"
    )


def test_an_object_that_is_null_or_absent_in_some_rows_has_its_columns_all_the_same() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "license": {"key": "mit", "name": "MIT"}, "stars": 4},
        {"id": 2, "license": None, "stars": 5},
        {"id": 3, "stars": 6},
        {"id": 4, "license": {"key": "gpl", "name": "GPL"}, "stars": 7},
    ]

    assert folded(rows) == "[4]{id,license?{key,name},stars}\n1,mit,MIT,4\n2,,~,5\n3,~,~,6\n4,gpl,GPL,7"


def test_an_object_whose_null_could_be_mistaken_is_said_as_it_is() -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "of": {"a": None}}, {"id": 2, "of": None}, {"id": 3, "of": {"a": 5}}]

    assert folded(rows) == '[3]{id,of}\n1,{"a":null}\n2,\n3,{"a":5}'


def test_objects_in_rows_may_have_different_keys() -> None:
    rows = [
        {"name": "bottle", "options": {"color": "red", "size": 1}},
        {"name": "chair", "options": {"color": "blue", "size": 2, "arms": True}},
    ]

    assert folded(rows) == "[2]{name,options{color,size,arms?}}\nbottle,red,1\nchair,blue,2,true"


def test_objects_in_rows_that_are_too_different_are_said_as_they_are() -> None:
    rows = [{"name": "bottle", "of": {"x": 1, "y": 2}}, {"name": "chair", "of": {"y": 1, "x": 2}}]

    assert folded(rows) == '[2]{name,of}\nbottle,{"x":1,"y":2}\nchair,{"y":1,"x":2}'


def test_empty_objects_in_rows_are_said_as_they_are() -> None:
    rows: list[dict[str, Any]] = [{"name": "a", "of": {}}, {"name": "b", "of": {"x": 1}}, {"name": "c", "of": {}}]

    assert folded(rows) == '[3]{name,of}\na,{}\nb,{"x":1}\nc,{}'


@pytest.mark.parametrize("levels", range(7, 12))
def test_what_lies_deep_in_rows_is_said_as_it_is(levels: int) -> None:
    deep: Any = {"end": 1, "list": [{"a": 1}, {"a": 2}], "maybe": {"b": 1}}
    other: Any = {"end": 2, "list": [{"a": 1}, {"a": 3}]}
    for _ in range(levels):
        deep, other = {"in": deep}, {"in": other}

    assert '{"a":1},{"a":2}' in folded([{"id": 1, "of": deep}, {"id": 2, "of": other}])


def test_where_commas_would_need_many_quotes_tabs_stand_between_cells() -> None:
    rows = [{"name": f"n{at}", "text": f"one, two, {at}"} for at in range(3)]

    assert folded(rows) == "[3]{name\ttext}\nn0\tone, two, 0\nn1\tone, two, 1\nn2\tone, two, 2"


def test_without_a_second_column_there_is_nothing_to_set_apart() -> None:
    assert folded([{"text": "one, two"}, {"text": "three"}]) == '[2]{text}\n"one, two"\nthree'


def test_the_host_and_folder_of_addresses_stand_in_the_header() -> None:
    rows = [{"id": at, "url": f"https://api.example.com/repos/{at}"} for at in range(4)]

    assert folded(rows) == '[4]{id,url="https://api.example.com/repos/"+$}\n0,0\n1,1\n2,2\n3,3'


def test_seconds_that_are_always_zero_and_midnights_stand_in_the_header() -> None:
    rows = [{"due": f"2024-05-0{at}T00:00:00Z", "starts": f"0{at}:30:00"} for at in range(1, 6)]
    more = [*rows, *[{"due": "2024-06-01T00:00:00Z", "starts": f"0{at}:45:00"} for at in range(5)]]

    assert folded(more).split("\n")[:2] == ['[10]{due=$+"T00:00:00Z",starts=$+":00"}', "2024-05-01,01:30"]


@pytest.mark.parametrize("values", ["ends with 00:00", "ids/1", "06:00:01"])
def test_ids_and_other_common_beginnings_stay_in_their_cells(values: str) -> None:
    rows = [{"id": f"HAT-{at}", "of": values if at else "06:00:00"} for at in range(6)]

    assert "+" not in folded(rows)


def test_objects_with_keys_of_their_own_are_no_table() -> None:
    rows = [{f"key {at}": at, f"other {at}": "some text that is long enough"} for at in range(5)]

    assert folded(rows) == json.dumps(rows, separators=(",", ":"))


def test_names_that_could_be_mistaken_have_quotes() -> None:
    rows = [{"a b": 1, "c$": "0", "d?": 3, 'e"\n': 4}, {"a b": 1, "c$": "1", "d?": 3, 'e"\n': 4}]

    assert folded(rows) == '[2]{"a b","c$"$,"d?","e\\"\\n"}\n1,0,3,4\n1,1,3,4'


def test_of_a_table_and_the_tables_inside_of_its_rows_the_shorter_way_is_taken() -> None:
    servers = [
        {"server": name, "tools": [{"name": f"{name}-{at}", "title": "t", "kind": f"k{at}"} for at in range(9)], **more}
        for name, more in (("one", {"x": 1}), ("two", {"y": 2}))
    ]

    found = folded(servers)

    assert found.startswith('[{"server":"one","tools":[9]{name,title="t",kind}\none-0,k0\n')
    assert ',"x":1},{"server":"two","tools":[9]{^1}\n' in found


def test_headers_of_a_way_that_was_not_taken_are_forgotten() -> None:
    inner = [[{"n": at, "of": [{"k": at, "long name": 1}, {"k": 1, "long name": at}]} for at in range(9)]] * 2

    found = folded({"first": inner[0], "second": inner[1]})

    assert found.count("{^1}") == 1


def test_numbers_keep_their_spelling_in_tables() -> None:
    text = (
        '[{"price": 1.50, "at": -0, "of": [1E5]}, {"price": 2.00, "at": 1e400, "of": [7]}, {"price":3,"at":4,"of":[]}]'
    )

    found = fold(text)

    assert found == "[3]{price,at,of}\n1.50,-0,[1E5]\n2.00,1e400,[7]\n3,4,[]"
    assert unfold(found) == text.replace(" ", "")


def test_a_folded_text_is_known_by_its_first_line_and_json_is_none() -> None:
    found = folded({"id": 7, "flights": FLIGHTS})

    assert is_folded(found)
    assert not is_folded(json.dumps(FLIGHTS))
    assert not is_folded('{"a": "[2]{a,b}"}')
    assert not is_folded(f"Found:\n{found}")


def test_text_that_looks_like_a_table_is_quoted_in_json_and_left_alone_outside_of_it() -> None:
    found = folded([{"id": 1, "text": "[2]{a,b}"}, {"id": 2, "text": "{^1}"}, {"id": 3, "text": "~{}"}])

    assert found == '[3]{id,text}\n1,"[2]{a,b}"\n2,"{^1}"\n3,"~{}"'
    assert fold(found) is None


def test_tables_behind_strings_that_look_like_tables_are_found() -> None:
    document = {"note": 'says "[2]{a}" and \\', "more": "[1]{x}", "rows": [{"name": "a"}, {"name": "b"}]}

    assert folded(document).endswith('"rows":[2]{name}\na\nb\n}')
