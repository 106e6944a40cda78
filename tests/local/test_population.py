from collections import Counter

import pytest

from local.population import Fate, Population


class TestPopulation:
    def test_same_numbers_give_the_same_people_products_and_orders(self) -> None:
        one, other = Population(30, 10, 200), Population(30, 10, 200)
        assert (one.customers, one.wares, one.purchases) == (other.customers, other.wares, other.purchases)
        assert one.request_id("order 1") == other.request_id("order 1")

    def test_it_is_the_same_in_every_version_of_the_program(self) -> None:
        population = Population(2, 1, 3)
        assert [each.username for each in population.customers] == ["kenji-00000", "bilal-00001"]
        assert population.wares[0].name == "Light Mirror 1"
        assert str(population.request_id("order 1")) == "b2d52228-395d-5e37-9b70-fa9558fba545"

    def test_larger_population_holds_the_users_products_and_orders_of_the_smaller(self) -> None:
        small, large = Population(5, 3, 20), Population(9, 7, 20)
        assert large.customers[:5] == small.customers
        assert large.wares[:3] == small.wares
        assert large.product_request_id(large.wares[2]) == small.product_request_id(small.wares[2])
        more = Population(5, 3, 50)
        kept = [each for orders in more.purchases.values() for each in orders if each.number < 20]
        assert sorted(kept, key=lambda each: each.number) == sorted(
            (each for orders in small.purchases.values() for each in orders), key=lambda each: each.number
        )
        assert more.request_id("order 7") == small.request_id("order 7") != large.request_id("order 7")

    def test_names_are_users_names_and_none_is_taken_twice(self) -> None:
        customers = Population(2_000, 0, 0).customers
        assert len({each.username for each in customers}) == 2_000
        assert all(each.username.replace("-", "").isalnum() and each.username.isascii() for each in customers)
        assert all(3 <= len(each.username) <= 32 for each in customers)

    def test_orders_are_complete_and_each_buyer_can_pay_theirs(self) -> None:
        population = Population(20, 10, 500)
        orders = [each for found in population.purchases.values() for each in found]
        assert sorted(each.number for each in orders) == list(range(500))
        assert {each.fate for each in orders} == set(Fate)
        assert sum(population.pieces.values()) == sum(sum(each.pieces.values()) for each in orders)
        prices = [ware.price_minor for ware in population.wares]
        for customer, found in population.purchases.items():
            total = sum(prices[number] * pieces for each in found for number, pieces in each.pieces.items())
            assert total < population.spending_minor(customer)

    def test_few_products_are_in_most_orders(self) -> None:
        lines = Counter(
            number for found in Population(20, 50, 1_000).purchases.values() for each in found for number in each.pieces
        )
        assert sum(lines[number] for number in range(10)) > sum(lines.values()) / 2

    @pytest.mark.parametrize("counts", [(0, 0, 0), (3, 0, 0), (0, 3, 0)])
    def test_population_without_orders_has_none(self, counts: tuple[int, int, int]) -> None:
        assert Population(*counts).purchases == {}
        assert Population(*counts).pieces == {}
